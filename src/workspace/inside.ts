import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WorkspaceUnusable } from './errors.ts';
import { ownIdentity } from './folder.ts';
import { exists } from './locate.ts';
import { Git, wordsOf } from './git.ts';
import { makeRepository } from './mirror.ts';
import type { Identity } from './workspace.ts';

interface History {
  readonly head: string;
  readonly branch?: string;
  readonly objectFormat: 'sha1' | 'sha256';
  /** A repository that has the objects. */
  readonly gitDir: string;
}

/** Makes the repository that a bottle gets: one branch or a detached HEAD, and no objects yet. */
export async function makeInside(
  directory: string,
  history: History,
  { name, email }: Identity = ownIdentity,
  signal?: AbortSignal,
): Promise<void> {
  const { head, branch, objectFormat } = history;
  await makeRepository(directory, {
    objectFormat,
    bare: false,
    head: branch === undefined ? head : `ref: refs/heads/${branch}`,
    // What `index-stat.ts` writes is compared; the rest of a file's status is not the same inside.
    core: ['logallrefupdates = true', 'checkStat = minimal', 'trustctime = false'],
  });
  const git = new Git({ gitDir: directory }, signal);
  // Git quotes what has to be.
  const set = (key: string, value: string) =>
    git.text(['config', '--file', join(directory, 'config'), key, value]);
  // Without any, git refuses to commit, and the agent goes looking for one.
  await set('user.name', name);
  await set('user.email', email);
  if (branch === undefined) return;
  await git.text(['check-ref-format', `refs/heads/${branch}`]);
  await writeRef(directory, `refs/heads/${branch}`, head);
}

/** The objects come later, and `git update-ref` would ask for them; a checked name is a path. */
async function writeRef(directory: string, ref: string, head: string): Promise<void> {
  await writeFile(
    join(directory, 'packed-refs'),
    `# pack-refs with: peeled fully-peeled sorted \n${head} ${ref}\n`,
  );
}

/**
 * Packs what is reachable from HEAD, and nothing else. Deltas and compressed data are reused as they are; what is not
 * packed yet is compressed quickly, and no new delta is looked for.
 * @throws WorkspaceUnusable when objects are missing.
 */
export async function packHistory(
  history: History,
  inside: string,
  root: string,
  signal?: AbortSignal,
): Promise<void> {
  const git = new Git({ gitDir: history.gitDir }, signal);
  const args = ['pack-objects', '--quiet', '--revs', '--delta-base-offset', '--window=0'];
  const packed = await git.try([...args, join(inside, 'objects/pack/pack')], {
    input: `${history.head}\n`,
    config: ['pack.compression=1'],
  });
  if (packed.code !== 0) {
    throw new WorkspaceUnusable({ reason: 'incomplete', directory: root, detail: wordsOf(packed.stderr) });
  }
  if (!(await exists(join(history.gitDir, 'shallow')))) return;
  // Only where the copied history itself was cut: the others would name commits that are not there.
  const cut = new Set((await readFile(join(history.gitDir, 'shallow'), 'latin1')).split('\n'));
  const ends = (await git.text(['rev-list', '--max-parents=0', history.head])).split('\n');
  const lines = ends.filter((commit) => cut.has(commit)).map((commit) => `${commit}\n`);
  if (lines.length > 0) await writeFile(join(inside, 'shallow'), lines.join(''));
}

/** Bytes of the packed history. */
export async function packBytes(inside: string): Promise<number> {
  const directory = join(inside, 'objects/pack');
  const sizes = await Promise.all(
    (await readdir(directory)).map(async (name) => (await stat(join(directory, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
