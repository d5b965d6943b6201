import { statfs } from 'node:fs/promises';
import { NoSpace } from './errors.ts';

/** Bytes that an unprivileged user may still write on the file system of `path` (statvfs(3), f_bavail). */
export async function availableBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/**
 * Makes sure that `neededBytes` fit on the file system of `directory` before any of them is written.
 * @param what the thing to be written, as a noun.
 * @throws NoSpace with the numbers.
 */
export async function ensureSpace(directory: string, neededBytes: number, what: string): Promise<void> {
  const available = await availableBytes(directory);
  if (available < neededBytes) {
    throw new NoSpace({ path: directory, what, neededBytes, availableBytes: available });
  }
}

/**
 * Turns the system's "disk full" and "quota exceeded", also as the cause of another error, into NoSpace. Every other
 * error comes back as it is: `catch (error) { throw await asNoSpace(error, path, 'artifact'); }`.
 */
export async function asNoSpace(error: unknown, path: string, what: string): Promise<unknown> {
  if (error instanceof NoSpace || !isFull(error)) return error;
  const available = await availableBytes(path).catch(() => 0);
  return new NoSpace({ path, what, availableBytes: available }, { cause: error });
}

function isFull(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth += 1) {
    const { code } = at as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT') return true;
  }
  return false;
}
