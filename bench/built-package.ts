import { cp, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { succeed } from './engine.ts';

const checkout = fileURLToPath(new URL('..', import.meta.url));

/** What a checkout runs: its sources, whose types Node strips at every start. */
export const sourceProgram = join(checkout, 'bin/claude-bottle');

/**
 * Builds in `directory` what npm would install, with the checkout's dependencies.
 * @returns the path of its program.
 */
export async function buildPackage(directory: string, signal: AbortSignal): Promise<string> {
  const root = join(directory, 'package');
  const tsc = join(checkout, 'node_modules/typescript/bin/tsc');
  const project = join(checkout, 'tsconfig.build.json');
  // Whether the types are right is another check's business.
  const args = [tsc, '-p', project, '--noCheck', '--outDir', join(root, 'dist')];
  await succeed(process.execPath, args, { signal });
  for (const name of ['bin', 'examples', 'package.json', 'guest/dist']) {
    await cp(join(checkout, name), join(root, name), { recursive: true });
  }
  await symlink(join(checkout, 'node_modules'), join(root, 'node_modules'));
  return join(root, 'bin/claude-bottle');
}
