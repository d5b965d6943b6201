import type { PathCount, RepositoryWorkspace } from './workspace.ts';

/** Something about a staged tree that its user would not expect, as data; the words are the commands'. */
export type StagingNote =
  /** Not asked for with `dirty`. */
  | { readonly kind: 'changes-left-out'; readonly modified: PathCount; readonly untracked: PathCount }
  | { readonly kind: 'submodules-left-out'; readonly paths: PathCount }
  /** Repositories in the working tree that are no submodules. */
  | { readonly kind: 'repositories-left-out'; readonly paths: PathCount }
  /** Files that a filter program converts when it is configured: they are as the commit has them (LFS: pointers). */
  | { readonly kind: 'unfiltered'; readonly filter: string; readonly count: number }
  | { readonly kind: 'shallow' }
  /** The working tree has a part of the files only; the copy has all. */
  | { readonly kind: 'sparse' }
  | { readonly kind: 'in-progress'; readonly what: NonNullable<RepositoryWorkspace['inProgress']> };
