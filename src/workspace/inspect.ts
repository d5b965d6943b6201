import { mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readChanges } from './changes.ts';
import { WorkspaceUnusable } from './errors.ts';
import { Git } from './git.ts';
import { exists, type Location, locate } from './locate.ts';
import { mirror } from './mirror.ts';
import { printablePath } from './printable.ts';
import { countPaths, type RepositoryWorkspace, type Workspace } from './workspace.ts';

export interface InspectOptions {
  /** What is no usable repository is taken as a plain folder. */
  readonly copy?: boolean;
  /** A directory of ours for the few files that looking takes; the system's own for such by default. */
  readonly scratchDirectory?: string;
  readonly signal?: AbortSignal;
}

/**
 * Looks at what would be copied into a bottle, and runs nothing of what it finds there.
 * @param directory anywhere inside a repository, or a folder.
 * @throws WorkspaceUnusable, GitMissing, GitFailed
 */
export async function inspectWorkspace(directory: string, options: InspectOptions = {}): Promise<Workspace> {
  try {
    const location = await locate(directory, options.signal);
    return await inspectRepository(location, options.scratchDirectory ?? tmpdir(), options.signal);
  } catch (error) {
    const fallsBack = options.copy === true && error instanceof WorkspaceUnusable;
    if (!fallsBack || error.fields.reason === 'no-directory') throw error;
    const root = await realpath(directory);
    return (await stat(root)).isDirectory() ? { kind: 'folder', root } : Promise.reject(error);
  }
}

async function inspectRepository(
  location: Location,
  scratch: string,
  signal?: AbortSignal,
): Promise<RepositoryWorkspace> {
  const git = new Git({ gitDir: location.gitDir }, signal);
  const head = await git.try(['rev-parse', '--verify', '--quiet', 'HEAD^{commit}']);
  if (head.code !== 0) {
    const unborn = (await git.try(['rev-parse', '--verify', '--quiet', 'HEAD'])).code !== 0;
    const reason = unborn ? 'no-commit' : 'incomplete';
    throw new WorkspaceUnusable({ reason, directory: location.root });
  }
  const commit = head.stdout.toString('latin1').trim();
  const branch = await git.try(['symbolic-ref', '--quiet', 'HEAD']);
  const ref = branch.stdout.toString('utf8').trim();
  const sparse = await isSet(git, 'core.sparseCheckout');
  const inProgress = await progressOf(location.gitDir);
  return {
    kind: 'repository',
    root: location.root,
    gitDir: location.gitDir,
    commonDir: location.commonDir,
    linkedWorktree: location.gitDir !== location.commonDir,
    head: commit,
    ...(ref.startsWith('refs/heads/') ? { branch: ref.slice('refs/heads/'.length) } : {}),
    objectFormat: location.objectFormat,
    shallow: location.shallow,
    partial: await isPartial(git),
    sparse,
    ...(inProgress === undefined ? {} : { inProgress }),
    ...(await count(location, commit, sparse, scratch, signal)),
  };
}

async function count(
  location: Location,
  head: string,
  sparse: boolean,
  scratch: string,
  signal?: AbortSignal,
) {
  const directory = await mkdtemp(join(scratch, 'claude-bottle-'));
  await using _directory = {
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
  const { gitDir } = await mirror(location, head, join(directory, 'git'), sparse, signal);
  const git = new Git({ gitDir, workTree: location.root }, signal);
  const changes = await readChanges(git);
  const tree = await git.bytes(['ls-files', '--stage', '-z']);
  const submodules = tree.split('\0').filter((line) => line.startsWith('160000 '));
  return {
    submodules: countPaths(submodules.map((line) => printablePath(line.slice(line.indexOf('\t') + 1)))),
    modified: countPaths(changes.tracked.map(({ path }) => printablePath(path))),
    untracked: countPaths(changes.untracked.map(printablePath)),
  };
}

async function isSet(git: Git, key: string): Promise<boolean> {
  const asked = await git.try(['config', '--type=bool', '--get', key]);
  return asked.code === 0 && asked.stdout.toString('latin1').trim() === 'true';
}

/** A remote that promises objects, or the extension of before there could be several (gitformat-pack(5), partial-clone). */
async function isPartial(git: Git): Promise<boolean> {
  const pattern = '^(extensions\\.partialclone|remote\\..*\\.promisor)$';
  return (await git.try(['config', '--get-regexp', pattern])).code === 0;
}

async function progressOf(gitDir: string): Promise<RepositoryWorkspace['inProgress']> {
  const marks = [
    ['rebase-merge', 'rebase'],
    ['rebase-apply', 'rebase'],
    ['MERGE_HEAD', 'merge'],
    ['CHERRY_PICK_HEAD', 'cherry-pick'],
    ['REVERT_HEAD', 'revert'],
    ['BISECT_LOG', 'bisect'],
  ] as const;
  for (const [name, what] of marks) if (await exists(join(gitDir, name))) return what;
  return undefined;
}
