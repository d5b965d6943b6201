import { failure } from '../failure.ts';
import type { TarFailure } from '../tar/errors.ts';

/** There is no git on this host. */
export class GitMissing extends failure('GitMissing')<{ command: string }> {}

/** Git said no to something that should work; `words` are the end of what it said. */
export class GitFailed extends failure('GitFailed')<{ doing: string; code: number; words: string }> {}

/** A signal ended the git inside a bottle, so that it answered nothing: neither yes nor no. */
export class InnerGitKilled extends failure('InnerGitKilled')<{ doing: string; signal: number }> {}

/** What is to be copied into a bottle cannot be, as it is. */
export class WorkspaceUnusable extends failure('WorkspaceUnusable')<{
  reason: 'no-directory' | 'not-a-repository' | 'bare' | 'no-commit' | 'foreign' | 'incomplete' | 'broken';
  directory: string;
  /** Of a foreign one: who it belongs to. Of a broken one: what git said. */
  detail?: string;
}> {}

/** What came out of a bottle is not taken: nothing of the user's repository was changed. */
export class WorkRefused extends failure('WorkRefused')<{
  reason: 'unreadable' | 'too-large' | 'damaged' | 'no-base' | 'no-commit';
  slug: string;
  /** What was found, control characters escaped. */
  detail: string;
}> {}

/** What came out of a bottle is larger than what is taken. Nothing of the user's repository was changed. */
export class WorkTooLarge extends failure('WorkTooLarge')<{
  slug: string;
  /** What would have been taken. */
  limitBytes: number;
  /** `room`: the disk of `directory` has no room for more. */
  by: 'size' | 'room';
  directory: string;
}> {}

/** The branch cannot be made in the user's repository. */
export class BranchUnmakeable extends failure('BranchUnmakeable')<{
  branch: string;
  repository: string;
  words: string;
}> {}

export type WorkspaceFailure =
  | TarFailure
  | GitMissing
  | GitFailed
  | InnerGitKilled
  | WorkspaceUnusable
  | WorkRefused
  | WorkTooLarge
  | BranchUnmakeable;
