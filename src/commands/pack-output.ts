import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { cp, link, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Cache } from '../smolmachine/cache.ts';
import { OutputExists, OutputUnwritable } from './errors.ts';

/**
 * Copies a file or a directory out of the cache. It appears at `output` whole or not at all, shares blocks with the
 * original where the file system can, and never replaces anything.
 * @throws OutputExists, OutputUnwritable, or the reason of `signal`.
 */
export async function copyOut(
  cache: Cache,
  path: string,
  output: string,
  signal: AbortSignal,
): Promise<void> {
  await using scratch = await cache.scratch({ signal });
  const draft = join(dirname(output), `claude-bottle-${randomBytes(4).toString('hex')}.part`);
  await scratch.expect({ kind: 'directory', path: draft });
  try {
    await cp(path, draft, {
      recursive: true,
      mode: constants.COPYFILE_FICLONE,
      errorOnExist: true,
      force: false,
    });
    signal.throwIfAborted();
    // A hard link fails where something is, which a rename of a file does not; one of a directory does.
    if ((await stat(draft)).isDirectory()) await rename(draft, output);
    else await link(draft, output);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' || code === 'ENOTEMPTY' || code === 'ENOTDIR')
      throw new OutputExists({ path: output });
    if (code !== undefined && /^E[A-Z]+$/.test(code)) throw new OutputUnwritable({ path: output, code });
    throw error;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}
