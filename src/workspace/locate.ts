import { constants } from 'node:fs';
import { access, lstat, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { WorkspaceUnusable } from './errors.ts';
import { Git, userSettings, wordsOf } from './git.ts';

/** Where a repository's parts are; all absolute. */
export interface Location {
  readonly root: string;
  readonly gitDir: string;
  readonly commonDir: string;
  readonly objectFormat: 'sha1' | 'sha256';
  readonly shallow: boolean;
}

/**
 * The repository that `directory` lies in. The working tree is where its `.git` is: what `core.worktree` says does not count,
 * so a configuration cannot make another directory the one that is copied.
 * @throws WorkspaceUnusable, GitMissing
 */
export async function locate(directory: string, signal?: AbortSignal): Promise<Location> {
  const start = await realpath(directory).catch(() => undefined);
  if (start === undefined || !(await stat(start)).isDirectory()) {
    throw new WorkspaceUnusable({ reason: 'no-directory', directory });
  }
  const root = await topOf(start);
  if (root === undefined) throw new WorkspaceUnusable({ reason: 'not-a-repository', directory: start });
  const dotGit = join(root, '.git');
  await requireOwn(root, [root, dotGit], signal);
  const git = new Git({ gitDir: dotGit }, signal);
  const asked = await git.try([
    'rev-parse',
    '--absolute-git-dir',
    '--path-format=absolute',
    '--git-common-dir',
    '--show-object-format',
    '--is-shallow-repository',
  ]);
  const [gitDir, commonDir, objectFormat, shallow] = asked.stdout.toString('utf8').split('\n');
  const known = objectFormat === 'sha1' || objectFormat === 'sha256';
  if (asked.code !== 0 || gitDir === undefined || commonDir === undefined || !known) {
    throw new WorkspaceUnusable({ reason: 'broken', directory: root, detail: wordsOf(asked.stderr) });
  }
  await requireOwn(root, [gitDir, commonDir], signal);
  return { root, gitDir, commonDir, objectFormat, shallow: shallow === 'true' };
}

/** The closest directory from `start` upwards with a `.git` in it. */
async function topOf(start: string): Promise<string | undefined> {
  for (let at = start; ; at = dirname(at)) {
    if (await exists(join(at, '.git'))) return at;
    const isBare = await Promise.all(['HEAD', 'objects', 'refs'].map((name) => exists(join(at, name))));
    if (isBare.every(Boolean)) throw new WorkspaceUnusable({ reason: 'bare', directory: at });
    if (dirname(at) === at) return undefined;
  }
}

/**
 * Refuses what another user may have prepared, as git does (Documentation/config/safe.txt), unless the user's own
 * configuration says that it is trusted.
 */
async function requireOwn(root: string, paths: readonly string[], signal?: AbortSignal): Promise<void> {
  const mine = new Set([process.geteuid?.()]);
  // With sudo, what belongs to who called it is trusted as well.
  if (mine.has(0) && process.env['SUDO_UID'] !== undefined) mine.add(Number(process.env['SUDO_UID']));
  for (const path of paths) {
    const owner = (await lstat(path)).uid;
    if (process.geteuid === undefined || mine.has(owner)) continue;
    if (await isTrusted(root, signal)) return;
    throw new WorkspaceUnusable({ reason: 'foreign', directory: root, detail: `user id ${owner}` });
  }
}

async function isTrusted(root: string, signal?: AbortSignal): Promise<boolean> {
  const values = await userSettings('safe.directory', undefined, signal);
  // An empty value takes back all before it.
  const trusted = values.slice(values.lastIndexOf('') + 1);
  return trusted.includes('*') || trusted.includes(root);
}

export async function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
