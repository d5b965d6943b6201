import type { Git } from './git.ts';

/** What differs from HEAD in a working tree. Paths are byte strings (latin1). */
export interface Changes {
  /** Tracked. `present` is whether there is something at the path that belongs to the working tree as git sees it. */
  readonly tracked: readonly { readonly path: string; readonly present: boolean }[];
  /** Neither tracked nor ignored. */
  readonly untracked: readonly string[];
  /** Repositories inside the working tree that are no submodules: git does not look into them, and neither do we. */
  readonly nested: readonly string[];
}

/**
 * Asks git what is not as in HEAD.
 * @param git on a repository of our own making, with the user's working tree.
 * @throws GitFailed
 */
export async function readChanges(git: Git): Promise<Changes> {
  const args = ['--porcelain=v2', '-z', '--untracked-files=all', '--no-renames', '--ignore-submodules=all'];
  return parseChanges(await git.bytes(['status', ...args]));
}

/** Reads `git status --porcelain=v2 -z` without renames (git-status(1), "Porcelain Format Version 2"). */
export function parseChanges(output: string): Changes {
  const tracked: { path: string; present: boolean }[] = [];
  const untracked: string[] = [];
  const nested: string[] = [];
  for (const record of output.split('\0')) {
    const path = record.slice(2);
    if (record.startsWith('? ')) (path.endsWith('/') ? nested : untracked).push(path);
    // 1 XY sub mH mI mW hH hI path; u XY sub m1 m2 m3 mW h1 h2 h3 path
    const fields = record.startsWith('1 ') ? 8 : record.startsWith('u ') ? 10 : 0;
    if (fields === 0) continue;
    const parts = record.split(' ');
    const mode = parts[fields === 8 ? 5 : 6];
    tracked.push({ path: parts.slice(fields).join(' '), present: mode !== '000000' });
  }
  return { tracked, untracked, nested };
}
