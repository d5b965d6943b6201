import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InitMissing } from './errors.ts';

/** The names that the program is built under, by what Node calls the machine. */
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

const ownRoot = fileURLToPath(new URL('../../', import.meta.url));

/**
 * The absolute path on the host of the first process of every bottle (docs/bottle-init.md), for this host's
 * architecture. It lies at the same place in a checkout and in the npm package.
 * @throws InitMissing
 */
export async function initProgram({
  root = ownRoot,
  arch = process.arch,
}: { readonly root?: string; readonly arch?: string } = {}): Promise<string> {
  const path = join(root, 'guest/dist', `bottle-init-${architectures[arch] ?? arch}`);
  try {
    await access(path, constants.R_OK | constants.X_OK);
  } catch (error) {
    throw new InitMissing({ path, fix: await fixFor(root) }, { cause: error });
  }
  return path;
}

/** A checkout can build it. */
async function fixFor(root: string): Promise<string> {
  try {
    await access(join(root, 'script/build-guest'));
    return 'script/build-guest --here';
  } catch {
    return 'npm install --global claude-bottle';
  }
}
