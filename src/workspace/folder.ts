import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Git } from './git.ts';
import { excludes, makeRepository } from './mirror.ts';
import type { StagingNote } from './notes.ts';
import { printablePath } from './printable.ts';
import { countPaths, type Identity } from './workspace.ts';

/** Who commits where nobody is named. */
export const ownIdentity: Identity = { name: 'claude-bottle', email: 'claude-bottle@localhost' };

/** Variables that name who commits, for git. */
export function identityVariables(identity: Identity = ownIdentity): Record<string, string> {
  return {
    GIT_AUTHOR_NAME: identity.name,
    GIT_AUTHOR_EMAIL: identity.email,
    GIT_COMMITTER_NAME: identity.name,
    GIT_COMMITTER_EMAIL: identity.email,
  };
}

/**
 * Makes a repository with one commit of a plain folder's files. What `.gitignore` files in it and the user's own list
 * ignore stays out, and so does every `.git`: a repository inside is not looked into.
 * @param gitDir does not exist yet. The folder itself is only read.
 */
export async function makeFolderCommit(
  root: string,
  gitDir: string,
  identity: Identity | undefined,
  signal?: AbortSignal,
): Promise<{ readonly head: string; readonly branch: string; readonly notes: StagingNote[] }> {
  const branch = 'main';
  await mkdir(dirname(gitDir), { recursive: true });
  await makeRepository(gitDir, { objectFormat: 'sha1', bare: true, head: `ref: refs/heads/${branch}` });
  await writeFile(join(gitDir, 'info/exclude'), await excludes(undefined, signal));
  const git = new Git({ gitDir, workTree: root }, signal);
  const found = (await git.bytes(['ls-files', '--others', '--exclude-standard', '-z']))
    .split('\0')
    .slice(0, -1);
  const nested = found.filter((path) => path.endsWith('/'));
  const files = found.filter((path) => !path.endsWith('/'));
  await git.text(['update-index', '--add', '--remove', '-z', '--stdin'], {
    input: files.map((path) => `${path}\0`).join(''),
    config: ['core.looseCompression=1'],
  });
  const tree = await git.text(['write-tree']);
  const head = await git.text(['commit-tree', '-m', 'The folder as it was copied', tree], {
    env: identityVariables(identity),
  });
  await git.text(['update-ref', `refs/heads/${branch}`, head]);
  const notes: StagingNote[] = [];
  if (nested.length > 0) {
    notes.push({ kind: 'repositories-left-out', paths: countPaths(nested.map(printablePath)) });
  }
  return { head, branch, notes };
}
