import { randomBytes } from 'node:crypto';
import { lstat, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

export interface Publication {
  /** The finished file or directory, inside a scratch directory on the same file system. It becomes this user's alone. */
  readonly prepared: string;
  /** Where it shall be. What is there already is replaced. */
  readonly target: string;
  /** The record: while it is absent, `target` counts for nothing. */
  readonly record: string;
  readonly recordText: string;
  /** Becomes the mtime of the record: the time of last use. */
  readonly at: Date;
}

/**
 * Puts an entry in place so that, killed or unplugged at any point, the cache holds the old entry, the new one, or
 * none: the old record goes first, the new one comes last, and each step is on the disk before the next.
 * The caller holds the lock of the key.
 */
export async function putInPlace({ prepared, target, record, recordText, at }: Publication): Promise<void> {
  const nonce = randomBytes(4).toString('hex');
  const newRecord = `${prepared}.${nonce}.json`;
  const replaced = `${prepared}.${nonce}.replaced`;
  await settle(prepared);
  await writeSynced(newRecord, recordText, at);
  await rm(record, { force: true });
  await rm(hiddenRecord(record), { force: true });
  // A file is replaced in one step. A directory cannot be renamed over a full one, so that goes to the scratch directory
  // first, whence it is removed even if we are killed.
  if (await isDirectory(target)) await rename(target, replaced);
  try {
    await rename(prepared, target);
    await syncOne(dirname(target));
    await rename(newRecord, record);
    await syncOne(dirname(record));
  } catch (error) {
    await rm(record, { force: true });
    await rm(target, { recursive: true, force: true });
    throw error;
  } finally {
    await rm(replaced, { recursive: true, force: true });
    await rm(newRecord, { force: true });
  }
}

/** Where a record waits while it is decided whether its entry may go. */
export function hiddenRecord(record: string): string {
  return `${record}.hidden`;
}

/** Takes an entry out: the record first, so that what is half removed counts for nothing. */
export async function takeAway(record: string, target: string): Promise<void> {
  await rm(record, { force: true });
  await rm(hiddenRecord(record), { force: true });
  await rm(target, { recursive: true, force: true });
}

/** Closes a tree to everybody else, whoever made it with whatever mode, and brings it to the disk. */
async function settle(path: string): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  for (const entry of entries ?? []) await settle(join(path, entry.name));
  await using handle = await open(path, 'r');
  await handle.chmod(entries === undefined ? 0o600 : 0o700);
  await handle.sync();
}

async function syncOne(path: string): Promise<void> {
  await using handle = await open(path, 'r');
  await handle.sync();
}

async function writeSynced(path: string, text: string, at: Date): Promise<void> {
  await using handle = await open(path, 'wx', 0o600);
  await handle.writeFile(text);
  await handle.utimes(at, at);
  await handle.sync();
}

async function isDirectory(path: string): Promise<boolean> {
  const stats = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  return stats?.isDirectory() === true;
}
