import { mkdir, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import type { EntryForm } from './entry.ts';
import { CacheUnusable } from './errors.ts';
import { asNoSpace } from './space.ts';

/** Where everything in a cache lies. */
export interface CacheTree {
  readonly root: string;
  /** Of the layer store. */
  readonly layersRoot: string;
  /** Of scratch directories: the same file system as the entries, so that they are published by renaming. */
  readonly scratchRoot: string;
  /** What the feeders remember of a source. */
  readonly sourcesRoot: string;
  readonly locksRoot: string;
  /** Made and filled by the launcher (bin/modules.cjs), where it may. */
  readonly compiledRoot: string;
  readonly formRoots: Readonly<Record<EntryForm, string>>;
}

/**
 * The cache directory: `claude-bottle` in `XDG_CACHE_HOME`, or in `.cache` at home. A relative `XDG_CACHE_HOME` is
 * ignored, as the XDG Base Directory Specification (0.8, "Basics") asks.
 */
export function cacheRoot(env: Readonly<Record<string, string | undefined>>, home: string): string {
  const base = env.XDG_CACHE_HOME;
  const usable = base !== undefined && base !== '' && isAbsolute(base);
  return join(usable ? base : join(home, '.cache'), 'claude-bottle');
}

/**
 * Creates what is missing of the tree, for this user alone. A directory of it that belongs to another user, or in which
 * others may put what they like, is refused: what lies there is believed, and names programs that are run.
 * @throws CacheUnusable, NoSpace.
 */
export async function openTree(root: string): Promise<CacheTree> {
  const tree: CacheTree = {
    root,
    layersRoot: join(root, 'layers'),
    scratchRoot: join(root, 'tmp'),
    sourcesRoot: join(root, 'sources'),
    locksRoot: join(root, 'locks'),
    compiledRoot: join(root, 'compiled'),
    formRoots: { smolmachine: join(root, 'smolmachines'), oci: join(root, 'layouts') },
  };
  const { layersRoot, scratchRoot, sourcesRoot, locksRoot, formRoots } = tree;
  for (const path of [root, layersRoot, scratchRoot, sourcesRoot, locksRoot, ...Object.values(formRoots)]) {
    try {
      await makeDirectory(path);
      await requireOurs(path);
    } catch (error) {
      throw await asTreeFailure(error, path);
    }
  }
  return tree;
}

/** Like mkdir -p. Node's own, on a read-only file system, says ENOENT and not why. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    await makeDirectory(dirname(path));
    await mkdir(path, { mode: 0o700 }).catch((again: NodeJS.ErrnoException) => {
      // Another process was quicker.
      if (again.code !== 'EEXIST') throw again;
    });
  }
}

/** The bits of inode(7) by which others may add or replace entries of a directory; the sticky bit stops replacing. */
const writableByOthers = 0o022;
const sticky = 0o1000;

async function requireOurs(path: string): Promise<void> {
  const { uid, mode } = await stat(path);
  const ours = uid === (process.geteuid?.() ?? uid);
  if (ours && ((mode & writableByOthers) === 0 || (mode & sticky) !== 0)) return;
  const code = `user ${uid}, mode ${(mode & 0o7777).toString(8)}`;
  throw new CacheUnusable({ path, reason: 'not-yours', code });
}

const reasons: Readonly<Record<string, CacheUnusable['fields']['reason']>> = {
  EEXIST: 'not-a-directory',
  ENOTDIR: 'not-a-directory',
  EROFS: 'read-only',
  EACCES: 'no-permission',
  EPERM: 'no-permission',
  EIO: 'io-error',
  ENOTSUP: 'io-error',
  EOPNOTSUPP: 'io-error',
  ENOSYS: 'io-error',
};

/** Turns the system's refusal to work in the cache into CacheUnusable or NoSpace; any other error stays as it is. */
export async function asCacheFailure(error: unknown, path: string): Promise<unknown> {
  const code = error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? '') : '';
  const reason = reasons[code];
  if (reason !== undefined) return new CacheUnusable({ path, reason, code }, { cause: error });
  return asNoSpace(error, path, 'cache');
}

/** `asCacheFailure` for the making of a directory, where no refusal of the system's, such as ENOENT from /proc, is a bug of ours. */
async function asTreeFailure(error: unknown, path: string): Promise<unknown> {
  const told = await asCacheFailure(error, path);
  const code = told instanceof Error ? ((told as NodeJS.ErrnoException).code ?? '') : '';
  if (!/^E[A-Z0-9]+$/.test(code)) return told;
  return new CacheUnusable({ path, reason: 'io-error', code }, { cause: error });
}
