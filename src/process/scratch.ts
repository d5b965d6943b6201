import { randomBytes } from 'node:crypto';
import { lstat, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as v from 'valibot';
import { ifFits, recordOf } from '../schema.ts';
import { currentOwner, isProvablyDead, isThere, Owner } from './owner.ts';

/** Which engine a leftover lives in: the command, and what of the environment chose its endpoint. */
export const EngineAddress = v.object({ command: v.string(), env: recordOf(v.string()) });
export type EngineAddress = Readonly<v.InferOutput<typeof EngineAddress>>;

/** Something outside the scratch directory that must be undone if its owner dies before doing so itself. */
export const Leftover = v.variant('kind', [
  v.object({ kind: v.literal('container'), engine: EngineAddress, name: v.string() }),
  v.object({ kind: v.literal('tag'), engine: EngineAddress, reference: v.string() }),
  v.object({ kind: v.literal('process-group'), owner: Owner }),
  v.object({ kind: v.literal('directory'), path: v.string() }),
]);
export type Leftover = Readonly<v.InferOutput<typeof Leftover>>;

const ownerFile = 'owner.json';
/** `<pid>-<8 hex>`. Anything of another name below a root is not ours: neither reaped nor counted. */
const namePattern = /^\d+-[0-9a-f]{8}$/;
/** What a scratch directory is called until it says whose it is. */
const unownedPattern = /^\.\d+-[0-9a-f]{8}$/;
/** No process takes this long (milliseconds) to write the few bytes that say whose a directory is. */
const ownedByThen = 60_000;
const journalFile = 'leftovers.jsonl';

/**
 * A directory (mode 0700) that belongs to this process and goes with it. What is created outside is written down here
 * first, so that after a SIGKILL the next command can undo it.
 */
export class Scratch implements AsyncDisposable {
  readonly path: string;
  #leavesSomething = false;

  private constructor(path: string) {
    this.path = path;
  }

  /** Creates a scratch directory below `root`, which is created too. */
  static async create(root: string): Promise<Scratch> {
    await mkdir(root, { recursive: true, mode: 0o700 });
    const owner = await currentOwner();
    const name = `${owner.pid}-${randomBytes(4).toString('hex')}`;
    // Under its name it has an owner from the first moment on.
    const draft = join(root, `.${name}`);
    await mkdir(draft, { mode: 0o700 });
    try {
      await writeDurably(join(draft, ownerFile), JSON.stringify(owner));
      await rename(draft, join(root, name));
    } catch (error) {
      await rm(draft, { recursive: true, force: true });
      throw error;
    }
    return new Scratch(join(root, name));
  }

  /** A path inside, for the caller to create. */
  file(name: string): string {
    return join(this.path, name);
  }

  /** Notes something outside that is about to exist. Call it before creating it. */
  async expect(leftover: Leftover): Promise<void> {
    await writeDurably(join(this.path, journalFile), `${JSON.stringify(leftover)}\n`);
  }

  /**
   * Runs what undoes something that was expected. When that fails, the note of it outlives this directory, and the next
   * command tries again.
   * @throws what `work` throws.
   */
  async undo(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#leavesSomething = true;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#leavesSomething) await removeAllBut(this.path, [ownerFile, journalFile]);
    else await removeWhole(this.path);
  }
}

/**
 * Removes every scratch directory of this user below `root` whose owner is provably dead, after handing what it left
 * outside to `undo`, newest first. Of a directory whose leftovers could not all be undone, only the note of those
 * stays, for the next try.
 * @returns how many directories went.
 * @throws the reason of `signal`.
 */
export async function reap(
  root: string,
  undo: (leftover: Leftover) => Promise<void>,
  options: { readonly signal?: AbortSignal } = {},
): Promise<number> {
  let reaped = 0;
  await removeUnowned(root);
  for (const name of await namesIn(root)) {
    const path = join(root, name);
    if (!(await isAbandoned(path))) continue;
    options.signal?.throwIfAborted();
    if (await undoAll(path, undo).catch(() => false)) reaped += 1;
  }
  options.signal?.throwIfAborted();
  return reaped;
}

/**
 * Removes a scratch directory: what it holds, then its name, then the file that says whose it is. Half of one under its
 * name and without that file would be nobody's for ever.
 */
async function removeWhole(path: string): Promise<void> {
  await removeAllBut(path, [ownerFile]);
  const unowned = join(path, '..', `.${basename(path)}`);
  await rename(path, unowned).catch(emptyIfAbsent(undefined));
  await rm(unowned, { recursive: true, force: true, maxRetries: 3 });
}

async function removeAllBut(path: string, kept: readonly string[]): Promise<void> {
  for (const name of await readdir(path).catch(emptyIfAbsent([]))) {
    if (!kept.includes(name)) await rm(join(path, name), { recursive: true, force: true, maxRetries: 3 });
  }
}

async function undoAll(path: string, undo: (leftover: Leftover) => Promise<void>): Promise<boolean> {
  const stuck: Leftover[] = [];
  for (const leftover of (await readJournal(path)).reverse()) {
    await undo(leftover).catch(() => stuck.unshift(leftover));
  }
  if (stuck.length === 0) {
    await removeWhole(path);
    return true;
  }
  const draft = join(path, `${journalFile}.draft`);
  await rm(draft, { force: true });
  await writeDurably(draft, stuck.map((leftover) => `${JSON.stringify(leftover)}\n`).join(''));
  await rename(draft, join(path, journalFile));
  await removeAllBut(path, [ownerFile, journalFile]);
  return false;
}

/** Directories whose makers died while they were making or removing them: all that is left of them is nearly nothing. */
async function removeUnowned(root: string): Promise<void> {
  for (const name of (await readdir(root).catch(emptyIfAbsent([]))).filter((name) =>
    unownedPattern.test(name),
  )) {
    const path = join(root, name);
    const stats = await lstat(path).catch(() => undefined);
    if (stats === undefined || !isOurs(stats)) continue;
    const aged = Date.now() - stats.mtimeMs > ownedByThen;
    if (aged || !isThere(Number.parseInt(name.slice(1), 10)) || (await isAbandoned(path))) {
      await rm(path, { recursive: true, force: true }).catch(() => undefined);
    }
  }
}

/** Whether any scratch directory below `root`, other than `except`, belongs to a process that may be alive. */
export async function hasLiveOwners(root: string, except?: Scratch): Promise<boolean> {
  for (const name of await namesIn(root)) {
    const path = join(root, name);
    if (path !== except?.path && !(await isAbandoned(path))) return true;
  }
  return false;
}

async function namesIn(root: string): Promise<string[]> {
  return (await readdir(root).catch(emptyIfAbsent([]))).filter((name) => namePattern.test(name));
}

function emptyIfAbsent<Empty>(empty: Empty) {
  return (error: NodeJS.ErrnoException): Empty => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return empty;
    throw error;
  };
}

async function isAbandoned(path: string): Promise<boolean> {
  const stats = await lstat(path).catch(() => undefined);
  // What another user wrote names programs that this one would run: root must not follow it.
  if (stats === undefined || !isOurs(stats)) return false;
  const text = await readFile(join(path, ownerFile), 'utf8').catch(() => undefined);
  const owner = text === undefined ? undefined : ifFits(Owner, parseJson(text));
  return owner !== undefined && isProvablyDead(owner);
}

function isOurs(stats: { isDirectory(): boolean; readonly uid: number }): boolean {
  return stats.isDirectory() && stats.uid === (process.geteuid?.() ?? stats.uid);
}

async function readJournal(path: string): Promise<Leftover[]> {
  // A journal that is there but cannot be read must not pass for an empty one, or what it names would be forgotten.
  const text = await readFile(join(path, journalFile), 'utf8').catch(emptyIfAbsent(''));
  return text.split('\n').flatMap((line) => ifFits(Leftover, parseJson(line)) ?? []);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  await using file = await open(path, 'a', 0o600);
  await file.appendFile(text);
  await file.datasync();
}
