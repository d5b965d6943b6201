/** A bounded list of paths: how many there are, and the first of them in a form that is safe to print. */
export interface PathCount {
  readonly count: number;
  readonly first: readonly string[];
}

/** A git repository whose HEAD can be copied into a bottle. */
export interface RepositoryWorkspace {
  readonly kind: 'repository';
  /** The top of the working tree. */
  readonly root: string;
  /** This working tree's own part of the repository, absolute. */
  readonly gitDir: string;
  /** What all working trees of it share, absolute; the same as `gitDir` without linked ones. */
  readonly commonDir: string;
  readonly linkedWorktree: boolean;
  readonly head: string;
  /** The checked-out branch, without `refs/heads/`. Absent: HEAD is detached. */
  readonly branch?: string;
  readonly objectFormat: 'sha1' | 'sha256';
  readonly shallow: boolean;
  /** A partial clone: objects may be missing, and are not fetched. */
  readonly partial: boolean;
  readonly sparse: boolean;
  /** What git is in the middle of, as `git status` names it. */
  readonly inProgress?: 'merge' | 'rebase' | 'cherry-pick' | 'revert' | 'bisect';
  readonly submodules: PathCount;
  /** Tracked, and different from HEAD: staged or not, deleted ones included. */
  readonly modified: PathCount;
  /** Neither tracked nor ignored. */
  readonly untracked: PathCount;
}

/** A folder that is no git repository, or is taken as if it were none. */
export interface FolderWorkspace {
  readonly kind: 'folder';
  readonly root: string;
}

export type Workspace = RepositoryWorkspace | FolderWorkspace;

/** As many paths of a list are named. */
const namedPaths = 10;

/** @param paths already printable. */
export function countPaths(paths: readonly string[]): PathCount {
  return { count: paths.length, first: paths.slice(0, namedPaths) };
}

/** Who commits. */
export interface Identity {
  readonly name: string;
  readonly email: string;
}
