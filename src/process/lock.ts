import { randomBytes } from 'node:crypto';
import { readdir, readlink, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { fit } from '../schema.ts';
import { LockBusy, NotALock } from './errors.ts';
import { currentOwner, isProvablyDead, Owner } from './owner.ts';

const LockFile = v.object({ id: v.string(), owner: Owner });
type LockFile = v.InferOutput<typeof LockFile>;

export interface LockOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds to wait for a live holder. Without it the wait has no end. */
  readonly waitMs?: number;
  /** Called once, when somebody else is found to hold the lock. */
  readonly onWait?: (pid: number) => void;
}

const pollMs = 50;

/**
 * Takes the lock file at `path` for this process and gives it back on disposal. The lock is a symbolic link
 * whose target is the owner, so it appears whole in one system call and no reader ever sees half of it. A lock whose owner is provably dead is taken over at once; a live
 * holder is waited for, and nothing depends on clocks or heartbeats, so a sleeping laptop loses no lock.
 * @throws LockBusy after `waitMs`, NotALock, or the reason of `signal`.
 */
export async function acquireLock(path: string, options: LockOptions = {}): Promise<AsyncDisposable> {
  const mine: LockFile = { id: randomBytes(8).toString('hex'), owner: await currentOwner() };
  const started = Date.now();
  let told = false;
  for (;;) {
    options.signal?.throwIfAborted();
    if (await create(path, mine)) {
      return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
    }
    const holder = await read(path);
    if (holder === undefined) continue;
    if (await isProvablyDead(holder.owner)) {
      await takeOver(path, holder);
      continue;
    }
    if (!told) options.onWait?.(holder.owner.pid);
    told = true;
    const waitedMs = Date.now() - started;
    if (options.waitMs !== undefined && waitedMs >= options.waitMs) {
      throw new LockBusy({ path, pid: holder.owner.pid, waitedMs });
    }
    await sleep(pollMs, undefined, options.signal === undefined ? {} : { signal: options.signal }).catch(
      () => {
        options.signal?.throwIfAborted();
      },
    );
  }
}

/** Whether a live process holds the lock at `path`. */
export async function isLocked(path: string): Promise<boolean> {
  const holder = await read(path);
  return holder !== undefined && !(await isProvablyDead(holder.owner));
}

/**
 * Removes the locks in a directory whose owners are provably dead, and leaves what is no lock. Safe against everybody
 * else doing the same.
 */
export async function clearDeadLocks(directory: string): Promise<void> {
  for (const name of await readdir(directory).catch(() => [])) {
    const path = join(directory, name);
    const holder = await read(path).catch(() => undefined);
    if (holder !== undefined && (await isProvablyDead(holder.owner))) await takeOver(path, holder);
  }
}

/**
 * Removes one dead holder's lock file. Only whoever holds the lock named after that very file may unlink it, so two
 * processes that both saw the dead owner cannot remove a third one's fresh lock between them.
 */
async function takeOver(path: string, dead: LockFile): Promise<void> {
  await using _only = await acquireLock(`${path}.${dead.id}`);
  if ((await read(path))?.id === dead.id) await rm(path, { force: true });
}

async function create(path: string, content: LockFile): Promise<boolean> {
  try {
    await symlink(JSON.stringify(content), path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function read(path: string): Promise<LockFile | undefined> {
  const text = await readlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error.code === 'EINVAL' ? new NotALock({ path }) : error;
  });
  if (text === undefined) return undefined;
  try {
    return fit(LockFile, JSON.parse(text));
  } catch {
    throw new NotALock({ path });
  }
}
