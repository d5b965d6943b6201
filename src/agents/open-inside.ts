import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';

/** A directory that is held open, so that what is opened below it cannot be moved elsewhere meanwhile. */
export interface HeldDirectory {
  readonly handle: FileHandle;
  readonly path: string;
}

/** A FIFO does not block, a terminal does not become ours, and a link is not followed. */
const careful = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;

/**
 * The path of something in a held directory. On Linux it goes through the descriptor, as openat(2) does, so that
 * exchanging a directory on the way for a link changes nothing. Elsewhere Node has no such way, and the path is an
 * ordinary one: there, only the last part is safe from being exchanged.
 */
export function pathIn(directory: HeldDirectory, name?: string): string {
  const held = process.platform === 'linux' ? `/proc/self/fd/${directory.handle.fd}` : directory.path;
  return name === undefined ? held : join(held, name);
}

/** Opens a file or directory in a held one. A link fails with ELOOP. */
export function openIn(directory: HeldDirectory, name: string): Promise<FileHandle> {
  return open(pathIn(directory, name), careful);
}

/** Holds a directory whose path is trusted, its last part included. */
export async function holdDirectory(path: string): Promise<HeldDirectory & AsyncDisposable> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  return { handle, path, [Symbol.asyncDispose]: () => handle.close() };
}

/** Opens what several names deep below a held directory, following no link on any of them. */
export async function openBelow(directory: HeldDirectory, names: readonly string[]): Promise<FileHandle> {
  const [name, ...rest] = names;
  if (name === undefined) throw new Error('there is nothing to open');
  const handle = await openIn(directory, name);
  if (rest.length === 0) return handle;
  await using holder = handle;
  return await openBelow({ handle: holder, path: join(directory.path, name) }, rest);
}
