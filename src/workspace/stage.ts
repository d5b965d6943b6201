import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { tarOf } from '../tar/write.ts';
import { readChanges } from './changes.ts';
import { makeFolderCommit } from './folder.ts';
import { Git } from './git.ts';
import { setIndexStat } from './index-stat.ts';
import { makeInside, packBytes, packHistory } from './inside.ts';
import { mirror } from './mirror.ts';
import type { StagingNote } from './notes.ts';
import { printable, printablePath } from './printable.ts';
import { fileOnDisk, type StagedFile, stagedEntries } from './staged-tree.ts';
import { readAttributes, readTree } from './tree.ts';
import { countPaths, type Identity, type RepositoryWorkspace, type Workspace } from './workspace.ts';

interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

export interface StageOptions {
  /** Also what is not committed, as it is in the working tree. */
  readonly dirty: boolean;
  /** An empty directory of ours, on a disk with room for the packed history. Needed until the tar has been read. */
  readonly scratchDirectory: string;
  /** Who the files belong to inside; waited for when all else is done. */
  readonly account: FileOwner | Promise<FileOwner>;
  /** Who commits inside, in the copy's own configuration. */
  readonly identity?: Identity;
  /** For a plain folder: a directory that does not exist yet, where the repository is made that its work comes back to. */
  readonly folderRepository?: string;
  readonly signal?: AbortSignal;
}

export interface Staged {
  /** The commit that the work inside starts from. */
  readonly base: string;
  readonly branch?: string;
  /** Of the working tree; not counting `.git`. */
  readonly fileCount: number;
  /** Of the working tree's files and the history together. */
  readonly bytes: number;
  readonly notes: readonly StagingNote[];
  /** The tree as a tar: everything below `workspace/`, owned by the account. */
  tar(): Readable;
  /** Files that changed or went while they were read into the tar; complete once it has been read. Printable. */
  readonly changedWhileRead: readonly string[];
}

/** What is staged comes from here: the user's repository, or the one that was made of a folder. */
interface Source {
  readonly head: string;
  readonly branch?: string;
  readonly objectFormat: 'sha1' | 'sha256';
  /** A repository of ours that shows it. */
  readonly gitDir: string;
  /** The user's working tree, where it counts. */
  readonly repository?: RepositoryWorkspace;
  readonly notes: StagingNote[];
}

/** Files are dated this long (milliseconds) before the index, so that git need not suspect a change in the same second. */
const settledMs = 10_000;

/**
 * Makes the tree that goes into a bottle: a repository with one branch, the history of HEAD and no other object, no
 * remote, no hook and no configuration of the user's, and the files at HEAD (with `dirty`: as they are). Ignored files
 * never come along. Nothing in the user's repository is changed, and nothing that is configured in it is run.
 * @throws WorkspaceUnusable when objects are missing; GitFailed; the reason of `signal`.
 */
export async function stageWorkspace(workspace: Workspace, options: StageOptions): Promise<Staged> {
  const { signal, scratchDirectory: scratch } = options;
  const source = await sourceOf(workspace, options);
  const inside = join(scratch, 'inside');
  await makeInside(inside, source, options.identity, signal);
  await packHistory(source, inside, workspace.root, signal);

  const index = join(inside, 'index');
  const converted = join(scratch, 'converted');
  const git = new Git({ gitDir: source.gitDir, index, workTree: converted }, signal);
  await mkdir(converted);
  await git.text(['read-tree', source.head], { config: ['index.version=2'] });
  const entries = await readTree(git, source.head);
  const attributes = await readAttributes(git, entries);
  if (attributes.converted.size > 0) {
    const input = [...attributes.converted].map((path) => `${path}\0`).join('');
    await git.text(['checkout-index', '--quiet', '--force', '-z', '--stdin'], { input });
  }
  for (const [filter, paths] of attributes.filtered) {
    source.notes.push({ kind: 'unfiltered', filter: printable(filter), count: paths.length });
  }

  const files = new Map<string, StagedFile>();
  for (const entry of entries) {
    const from = attributes.converted.has(entry.path) ? 'converted' : 'commit';
    const size = from === 'commit' ? entry.size : (await fileOnDisk(converted, entry.path))?.size;
    files.set(entry.path, { ...entry, from, size: size ?? entry.size });
  }
  if (source.repository !== undefined) {
    const submodules = entries
      .filter(({ kind }) => kind === 'submodule')
      .map(({ path }) => printablePath(path));
    if (submodules.length > 0)
      source.notes.push({ kind: 'submodules-left-out', paths: countPaths(submodules) });
    await applyChanges(source.repository, source, files, options);
  }

  const modified = new Date(Date.now() - settledMs);
  await setIndexStat(index, source.objectFormat, modified, (path) => {
    const file = files.get(path);
    return file === undefined || file.from === 'disk' ? undefined : file.size;
  });
  const { uid, gid } = await options.account;
  const changedWhileRead: string[] = [];
  const list = [...files.values()];
  const fileBytes = list.reduce((sum, file) => sum + file.size, 0);
  const changed = (path: string) => changedWhileRead.push(printablePath(path));
  return {
    base: source.head,
    ...(source.branch === undefined ? {} : { branch: source.branch }),
    fileCount: list.filter(({ kind }) => kind !== 'submodule').length,
    bytes: fileBytes + (await packBytes(inside)),
    notes: source.notes,
    changedWhileRead,
    tar: () =>
      tarOf(
        stagedEntries({
          files: list,
          inside,
          objects: new Git({ gitDir: source.gitDir }, signal),
          workTree: workspace.root,
          converted,
          changed,
        }),
        { uid, gid, modified, onMismatch: (path) => changed(path.slice('workspace/'.length)) },
      ),
  };
}

async function sourceOf(workspace: Workspace, options: StageOptions): Promise<Source> {
  const { signal, scratchDirectory } = options;
  if (workspace.kind === 'folder') {
    const gitDir = options.folderRepository;
    if (gitDir === undefined) throw new TypeError('a folder needs a folderRepository');
    const made = await makeFolderCommit(workspace.root, gitDir, options.identity, signal);
    return { ...made, objectFormat: 'sha1', gitDir };
  }
  const mirrored = join(scratchDirectory, 'mirror');
  await mirror(workspace, workspace.head, mirrored, workspace.sparse, signal);
  const notes: StagingNote[] = [];
  if (workspace.shallow) notes.push({ kind: 'shallow' });
  if (workspace.sparse) notes.push({ kind: 'sparse' });
  if (workspace.inProgress !== undefined) notes.push({ kind: 'in-progress', what: workspace.inProgress });
  const { head, objectFormat, branch } = workspace;
  return {
    head,
    ...(branch === undefined ? {} : { branch }),
    objectFormat,
    gitDir: mirrored,
    repository: workspace,
    notes,
  };
}

/** Lays what differs from HEAD over `files`, or says that it is left out. */
async function applyChanges(
  workspace: RepositoryWorkspace,
  source: Source,
  files: Map<string, StagedFile>,
  { dirty, signal }: StageOptions,
): Promise<void> {
  const git = new Git({ gitDir: source.gitDir, workTree: workspace.root }, signal);
  const { tracked, untracked, nested } = await readChanges(git);
  const count = (paths: readonly string[]) => countPaths(paths.map(printablePath));
  if (nested.length > 0) source.notes.push({ kind: 'repositories-left-out', paths: count(nested) });
  if (!dirty) {
    if (tracked.length + untracked.length === 0) return;
    const modified = count(tracked.map(({ path }) => path));
    source.notes.push({ kind: 'changes-left-out', modified, untracked: count(untracked) });
    return;
  }
  for (const { path } of tracked) files.delete(path);
  const present = tracked.filter((one) => one.present).map(({ path }) => path);
  for (const path of [...present, ...untracked]) {
    const found = await fileOnDisk(workspace.root, path);
    if (found !== undefined) files.set(path, { path, oid: '', from: 'disk', ...found });
  }
}
