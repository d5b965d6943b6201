import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, type FileHandle, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Cache } from '../smolmachine/cache.ts';
import { asCacheFailure } from '../smolmachine/cache-tree.ts';
import type { CacheEntry } from '../smolmachine/entry.ts';
import { checkEntry } from '../smolmachine/entry-check.ts';
import { EntryChanged } from '../smolmachine/errors.ts';
import { OutputExists, OutputUnwritable } from './errors.ts';

/**
 * Copies an entry out of the cache, for this user alone (as `docker save --output` does). It appears at `output` whole
 * or not at all, shares blocks with the original where the file system can, and never replaces anything. Nobody can
 * change the entry meanwhile; one that was replaced by another of the same image before counts as well as the first.
 * @returns the copy: `output`, and the record of what was copied.
 * @throws OutputExists, OutputUnwritable, EntryChanged, CacheUnusable, NoSpace, or the reason of `signal`.
 */
export async function copyOut(
  cache: Cache,
  { record: wanted }: CacheEntry,
  output: string,
  signal: AbortSignal,
): Promise<CacheEntry> {
  await using scratch = await cache.scratch({ signal });
  await using _only = await cache.lock(wanted.key, { signal });
  const found = await cache.lookup(wanted.form, wanted.key, {
    imageId: wanted.image.id,
    platform: wanted.platform,
    flat: wanted.layerDigest !== undefined,
  });
  const path = cache.entryPath(wanted.form, wanted.key);
  const changed = (reason: string) => new EntryChanged({ path, key: wanted.key, reason });
  if (found.state === 'damaged') throw changed(found.reason);
  if (found.state === 'miss') throw changed('it was removed or replaced');
  const { record } = found.entry;

  const draft = join(dirname(output), `claude-bottle-${randomBytes(4).toString('hex')}.part`);
  await scratch.expect({ kind: 'directory', path: draft });
  const copy: Copy = {
    // Under the lock nobody of ours takes a file away.
    read: (work) =>
      work().catch(async (error: NodeJS.ErrnoException) => {
        throw error.code === 'ENOENT' ? changed('a file of it is gone') : await asCacheFailure(error, path);
      }),
    write: (work) => writing(output, work),
    signal,
  };
  try {
    await (wanted.form === 'oci' ? copyDirectory(path, draft, copy) : copyOne(path, draft, copy));
    const wrong = await copy.write(() => checkEntry(record, draft));
    if (wrong !== undefined) throw changed(`the copy is not whole: ${wrong}`);
    signal.throwIfAborted();
    await (wanted.form === 'oci' ? nameDirectory(draft, output) : nameFile(draft, output));
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return { path: output, record };
}

/** A failure to read is the cache's, one to write is the output's. */
interface Copy {
  readonly read: <Result>(work: () => Promise<Result>) => Promise<Result>;
  readonly write: <Result>(work: () => Promise<Result>) => Promise<Result>;
  readonly signal: AbortSignal;
}

async function copyDirectory(from: string, to: string, copy: Copy): Promise<void> {
  await copy.write(() => mkdir(to, { mode: 0o700 }));
  for (const entry of await copy.read(() => readdir(from, { withFileTypes: true }))) {
    const [inner, outer] = [join(from, entry.name), join(to, entry.name)];
    await (entry.isDirectory() ? copyDirectory(inner, outer, copy) : copyOne(inner, outer, copy));
  }
}

async function copyOne(from: string, to: string, copy: Copy): Promise<void> {
  const clone = constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE;
  const cloned = await copyFile(from, to, clone).then(
    () => true,
    // Most file systems cannot. If it is something else, copying will fail of it, and tell on which side.
    () => false,
  );
  if (cloned) return;
  await using source = await copy.read(() => open(from, 'r'));
  await using target = await copy.write(() => open(to, 'wx', 0o600));
  await copyBytes(source, target, copy);
}

async function copyBytes(
  source: FileHandle,
  target: FileHandle,
  { read, write, signal }: Copy,
): Promise<void> {
  const window = Buffer.allocUnsafeSlow(1024 * 1024);
  for (;;) {
    signal.throwIfAborted();
    const { bytesRead } = await read(() => source.read(window, 0, window.length));
    if (bytesRead === 0) return;
    await write(() => target.writeFile(window.subarray(0, bytesRead)));
  }
}

async function nameDirectory(draft: string, output: string): Promise<void> {
  // What a directory cannot be renamed over: a full one, and all that is none (rename(2)).
  await writing(output, () => rename(draft, output), ['EEXIST', 'ENOTEMPTY', 'ENOTDIR']);
}

/** What a file system without hard links, such as FAT, answers to the wish for one (link(2)). */
const noHardLinks = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/**
 * Gives a finished file its name unless something has that. A rename would replace it, a hard link does not; without
 * hard links an empty file takes the name first, and the finished one takes its place.
 * @throws OutputExists, OutputUnwritable.
 */
export async function nameFile(draft: string, output: string, hardLink = link): Promise<void> {
  const linked = await writing(
    output,
    () =>
      hardLink(draft, output).then(
        () => true,
        (error: NodeJS.ErrnoException) => {
          if (noHardLinks.includes(error.code ?? '')) return false;
          throw error;
        },
      ),
    ['EEXIST'],
  );
  if (linked) return;
  await writing(output, async () => (await open(output, 'wx', 0o600)).close(), ['EEXIST']);
  try {
    await writing(output, () => rename(draft, output));
  } catch (error) {
    await rm(output, { force: true });
    throw error;
  }
}

async function writing<Result>(
  output: string,
  work: () => Promise<Result>,
  /** The codes that tell of something being there. */
  taken: readonly string[] = [],
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (taken.includes(code)) throw new OutputExists({ path: output });
    if (/^E[A-Z0-9]+$/.test(code)) throw new OutputUnwritable({ path: output, code }, { cause: error });
    throw error;
  }
}
