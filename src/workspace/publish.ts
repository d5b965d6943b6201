import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BranchUnmakeable } from './errors.ts';
import { Git, wordsOf } from './git.ts';
import type { Quarantine, Receiver } from './quarantine.ts';

/** Branches of the same slug: that many and no more. */
const tries = 100;
/** Another process may hold a ref's lock; each is tried for as long as git waits itself, and then so often again. */
const lockTries = 5;

/**
 * Brings what is reachable from `tip` into the user's repository as a new branch. The objects are packed anew in the
 * quarantine, so that nothing else comes along, and moved in as one file; the branch is made by one transaction that fails if it
 * exists. No hook, no transport, no housekeeping runs, and neither working tree, index, configuration nor FETCH_HEAD is touched.
 * @returns the branch's name, without `refs/heads/`.
 * @throws BranchUnmakeable
 */
export async function publish(
  quarantine: Quarantine,
  receiver: Receiver,
  tip: string,
  slug: string,
  scratch: string,
  signal?: AbortSignal,
): Promise<string> {
  await moveObjects(quarantine, receiver, tip, scratch);
  const git = new Git({ gitDir: receiver.gitDir }, signal);
  // `bottle/<slug>` cannot be where a branch is called `bottle`.
  const taken = await git.try(['rev-parse', '--verify', '--quiet', 'refs/heads/bottle']);
  const stem = taken.code === 0 ? `bottle-${slug}` : `bottle/${slug}`;
  let words = '';
  for (let number = 1; number <= tries; number++) {
    const branch = number === 1 ? stem : `${stem}-${number}`;
    if ((await git.try(['rev-parse', '--verify', '--quiet', `refs/heads/${branch}`])).code === 0) continue;
    const made = await makeRef(git, `refs/heads/${branch}`, tip);
    if (made === undefined) return branch;
    words = made;
    if (!words.includes('already exists')) break;
  }
  throw new BranchUnmakeable({ branch: stem, repository: receiver.gitDir, words });
}

/** @returns what git said, when it did not make it. */
async function makeRef(git: Git, ref: string, tip: string): Promise<string | undefined> {
  for (let tried = 1; ; tried++) {
    const made = await git.try(['update-ref', ref, tip, '0'.repeat(tip.length)]);
    if (made.code === 0) return undefined;
    const locked = /Unable to create .*\.lock|cannot lock ref.*: (?:Unable|unable)/s.test(made.stderr);
    if (!locked || tried === lockTries || made.stderr.includes('already exists')) return wordsOf(made.stderr);
    await sleep(100 * tried);
  }
}

/**
 * Packs what the receiver lacks, and moves it in as git itself does: under a name that git takes for a leftover until it
 * is whole, and the index last, because a pack counts from when it has one. What no branch holds is dropped by git's housekeeping.
 */
async function moveObjects(
  quarantine: Quarantine,
  receiver: Receiver,
  tip: string,
  scratch: string,
): Promise<void> {
  const out = join(scratch, 'out');
  await mkdir(out);
  const args = ['pack-objects', '--quiet', '--revs', '--delta-base-offset', join(out, 'pack')];
  await quarantine.git().text(args, { input: `${tip}\n^${quarantine.base}\n` });
  const pack = (await readdir(out)).find((name) => name.endsWith('.pack'));
  if (pack === undefined) return;
  const target = join(receiver.commonDir, 'objects/pack');
  await mkdir(target, { recursive: true });
  for (const name of [pack, pack.replace(/\.pack$/, '.idx')]) {
    const draft = join(target, `tmp_pack_${randomBytes(6).toString('hex')}`);
    try {
      await copyFile(join(out, name), draft, constants.COPYFILE_FICLONE);
      await settle(draft);
      // What is there under that name already has the same content.
      await rename(draft, join(target, name));
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
  }
}

async function settle(path: string): Promise<void> {
  await using file = await open(path, 'r');
  await file.datasync();
  await file.chmod(0o444);
}
