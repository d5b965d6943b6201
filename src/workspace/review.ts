import type { Workspace } from './workspace.ts';

/** The two commands to type: one that shows the work, one that takes it. */
export interface ReviewCommands {
  readonly review: string;
  readonly merge: string;
}

/**
 * What to type to look at a branch and to take it. Showing it runs no program that a repository names.
 * @param work the branch, the commit it is compared with, and for a folder the repository that has it.
 */
export function reviewCommands(
  workspace: Workspace,
  work: { readonly branch: string; readonly base: string; readonly repository: string },
): ReviewCommands {
  const base = work.base.slice(0, 12);
  const branch = quote(work.branch);
  const show = (git: string) => `${git} log --patch --stat --no-ext-diff --no-textconv ${base}..${branch}`;
  if (workspace.kind === 'repository') {
    const git = `git -C ${quote(workspace.root)}`;
    return { review: show(git), merge: `${git} merge ${branch}` };
  }
  const git = `git --git-dir ${quote(work.repository)}`;
  return {
    review: show(git),
    merge: `${git} diff --binary --no-ext-diff --no-textconv ${base} ${branch} | git -C ${quote(workspace.root)} apply`,
  };
}

/** As one word of a POSIX shell. */
function quote(word: string): string {
  return /^[A-Za-z0-9_/.:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
