import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import { ByteReader } from '../tar/byte-reader.ts';
import type { TarEntry } from '../tar/write.ts';
import { GitFailed } from './errors.ts';
import type { Git } from './git.ts';
import type { TreeEntry } from './tree.ts';

/** A file of the tree that goes in. */
export interface StagedFile extends TreeEntry {
  /** `commit`: an object. `converted`: written out by git, for its line ends or encoding. `disk`: the user's own file, as it is. */
  readonly from: 'commit' | 'converted' | 'disk';
}

interface TreeSource {
  readonly files: readonly StagedFile[];
  /** The directory that becomes `.git`. */
  readonly inside: string;
  /** Where the objects are. */
  readonly objects: Git;
  readonly workTree: string;
  readonly converted: string;
  /** Called with the path of a file that is not there any more, or is something else now. */
  readonly changed: (path: string) => void;
}

const top = 'workspace';
/** A link's target cannot be longer (PATH_MAX). */
const targetLimit = 4096;

/** The entries of the tar, everything below `workspace/`; each directory before what lies in it. */
export async function* stagedEntries(source: TreeSource): AsyncGenerator<TarEntry> {
  yield { kind: 'directory', path: top, mode: 0o755 };
  yield* repositoryEntries(source.inside, `${top}/.git`);
  const made = new Set<string>();
  const lookedAt = new Map<string, boolean>();
  await using objects = readObjects(
    source.objects,
    source.files.filter(({ from, kind }) => from === 'commit' && kind !== 'submodule'),
  );
  for (const file of source.files) {
    if (file.kind === 'submodule') {
      yield* directories(`${file.path}/`, made);
    } else if (file.from === 'commit') {
      yield* directories(file.path, made);
      yield await objects.next(file);
    } else {
      const root = file.from === 'disk' ? source.workTree : source.converted;
      await using found = await openFile(root, file.path, lookedAt);
      if (found === undefined) source.changed(file.path);
      else {
        yield* directories(file.path, made);
        yield { path: `${top}/${file.path}`, ...found.entry };
      }
    }
  }
}

function* directories(path: string, made: Set<string>): Generator<TarEntry> {
  for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
    const directory = path.slice(0, slash);
    if (made.has(directory)) continue;
    made.add(directory);
    yield { kind: 'directory', path: `${top}/${directory}`, mode: 0o755 };
  }
}

/** Our own repository: what we made is read as it is, and dated now. */
async function* repositoryEntries(directory: string, path: string): AsyncGenerator<TarEntry> {
  const modified = new Date();
  yield { kind: 'directory', path, mode: 0o755 };
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const at = `${directory}/${entry.name}`;
    const name = `${path}/${Buffer.from(entry.name).toString('latin1')}`;
    if (entry.isDirectory()) {
      yield* repositoryEntries(at, name);
      continue;
    }
    await using file = await open(at, 'r');
    const mode = path.endsWith('/pack') ? 0o444 : 0o644;
    yield {
      kind: 'file',
      path: name,
      mode,
      size: (await file.stat()).size,
      body: () => read(file),
      modified,
    };
  }
}

interface Objects extends AsyncDisposable {
  next(file: StagedFile): Promise<TarEntry>;
}

/** Reads objects in the order of `files` from one `git cat-file`. */
function readObjects(git: Git, files: readonly StagedFile[]): Objects {
  const child = git.open(['cat-file', '--batch', '--buffer'], {
    input: files.map(({ oid }) => `${oid}\n`).join(''),
  });
  const reader = new ByteReader(child.stdout);
  let left = 0;
  return {
    async next(file) {
      await reader.skip(left);
      const line = await reader.line(1000);
      if (line !== `${file.oid} blob ${file.size}`) {
        const { code, stderr } = line === undefined ? await child.done : { code: 0, stderr: line };
        throw new GitFailed({ doing: 'cat-file', code, words: stderr });
      }
      // A line feed follows each object.
      left = file.size + 1;
      const path = `${top}/${file.path}`;
      if (file.kind === 'symlink') {
        const target = (await reader.take(Math.min(file.size, targetLimit))).toString('latin1');
        left -= target.length;
        return { kind: 'symlink', path, target };
      }
      const body = async function* () {
        for await (const part of reader.body(file.size)) {
          left -= part.length;
          yield part;
        }
      };
      return { kind: 'file', path, mode: file.kind === 'executable' ? 0o755 : 0o644, size: file.size, body };
    },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}

/** What a regular file or a symbolic link is now, without following any link; `undefined` for everything else. */
export async function fileOnDisk(
  root: string,
  path: string,
): Promise<{ readonly kind: 'file' | 'executable' | 'symlink'; readonly size: number } | undefined> {
  if (!(await isReached(root, path, new Map()))) return undefined;
  const stats = await lstat(place(root, path)).catch(() => undefined);
  if (stats?.isSymbolicLink() === true) return { kind: 'symlink', size: stats.size };
  if (stats?.isFile() !== true) return undefined;
  return { kind: (stats.mode & 0o100) === 0 ? 'file' : 'executable', size: stats.size };
}

type Found = AsyncDisposable & {
  readonly entry:
    | { readonly kind: 'symlink'; readonly target: string }
    | {
        readonly kind: 'file';
        readonly mode: number;
        readonly size: number;
        readonly body: () => AsyncIterable<Buffer>;
      };
};

async function openFile(root: string, path: string, known: Map<string, boolean>): Promise<Found | undefined> {
  if (!(await isReached(root, path, known))) return undefined;
  const at = place(root, path);
  // A pipe that took a file's place must not make us wait for its writer.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(at, flags).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ELOOP' || error.code === 'EMLINK') return 'link' as const;
    if (error.code === 'ENOENT' || error.code === 'ENXIO' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  if (file === 'link') {
    const target = (await readlink(at, 'buffer').catch(() => undefined))?.toString('latin1');
    if (target === undefined) return undefined;
    return { entry: { kind: 'symlink', target }, [Symbol.asyncDispose]: async () => undefined };
  }
  const stats = await file.stat();
  if (!stats.isFile()) {
    await file.close();
    return undefined;
  }
  return {
    entry: { kind: 'file', mode: stats.mode & 0o777, size: stats.size, body: () => read(file) },
    [Symbol.asyncDispose]: () => file.close(),
  };
}

/** Whether every directory on the way is one, and no link to elsewhere. */
async function isReached(root: string, path: string, known: Map<string, boolean>): Promise<boolean> {
  for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
    const directory = path.slice(0, slash);
    let real = known.get(directory);
    if (real === undefined) {
      real = (await lstat(place(root, directory)).catch(() => undefined))?.isDirectory() === true;
      known.set(directory, real);
    }
    if (!real) return false;
  }
  return true;
}

async function* read(file: FileHandle): AsyncGenerator<Buffer> {
  const size = 256 * 1024;
  for (let at = 0; ;) {
    const buffer = Buffer.allocUnsafe(size);
    const { bytesRead } = await file.read(buffer, 0, size, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

function place(root: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);
}
