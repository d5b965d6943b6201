import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { currentOwner, isProvablyDead, Owner } from './owner.ts';

/** Which engine a leftover lives in: the command, and what of the environment chose its endpoint. */
export const EngineAddress = z.object({ command: z.string(), env: z.record(z.string(), z.string()) });
export type EngineAddress = Readonly<z.infer<typeof EngineAddress>>;

/** Something outside the scratch directory that must be undone if its owner dies before doing so itself. */
export const Leftover = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('container'), engine: EngineAddress, name: z.string() }),
  z.object({ kind: z.literal('tag'), engine: EngineAddress, reference: z.string() }),
  z.object({ kind: z.literal('process-group'), owner: Owner }),
  z.object({ kind: z.literal('directory'), path: z.string() }),
]);
export type Leftover = Readonly<z.infer<typeof Leftover>>;

const ownerFile = 'owner.json';
/** `<pid>-<8 hex>`. Anything of another name below a root is not ours: neither reaped nor counted. */
const namePattern = /^\d+-[0-9a-f]{8}$/;
const journalFile = 'leftovers.jsonl';

/**
 * A directory (mode 0700) that belongs to this process and goes with it. What is created outside is written down here
 * first, so that after a SIGKILL the next command can undo it.
 */
export class Scratch implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Creates a scratch directory below `root`, which is created too. */
  static async create(root: string): Promise<Scratch> {
    await mkdir(root, { recursive: true, mode: 0o700 });
    const owner = await currentOwner();
    const path = join(root, `${owner.pid}-${randomBytes(4).toString('hex')}`);
    await mkdir(path, { mode: 0o700 });
    await writeDurably(join(path, ownerFile), JSON.stringify(owner));
    return new Scratch(path);
  }

  /** A path inside, for the caller to create. */
  file(name: string): string {
    return join(this.path, name);
  }

  /** Notes something outside that is about to exist. Call it before creating it. */
  async expect(leftover: Leftover): Promise<void> {
    await writeDurably(join(this.path, journalFile), `${JSON.stringify(leftover)}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true, maxRetries: 3 });
  }
}

/**
 * Removes every scratch directory below `root` whose owner is provably dead, after handing what it left outside to
 * `undo`, newest first. A leftover that cannot be undone keeps its directory for the next try.
 * @returns how many directories went.
 */
export async function reap(root: string, undo: (leftover: Leftover) => Promise<void>): Promise<number> {
  let reaped = 0;
  for (const name of await namesIn(root)) {
    const path = join(root, name);
    if (!(await isAbandoned(path, name))) continue;
    try {
      for (const leftover of (await readJournal(path)).reverse()) await undo(leftover);
      await rm(path, { recursive: true, force: true });
      reaped += 1;
    } catch {
      // Tried again by the next command.
    }
  }
  return reaped;
}

/** Whether any scratch directory below `root`, other than `except`, belongs to a process that may be alive. */
export async function hasLiveOwners(root: string, except?: Scratch): Promise<boolean> {
  for (const name of await namesIn(root)) {
    const path = join(root, name);
    if (path !== except?.path && !(await isAbandoned(path, name))) return true;
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

async function isAbandoned(path: string, name: string): Promise<boolean> {
  const text = await readFile(join(path, ownerFile), 'utf8').catch(() => undefined);
  const owner = text === undefined ? undefined : Owner.safeParse(parseJson(text)).data;
  if (owner !== undefined) return isProvablyDead(owner);
  // Its maker died, or is, between mkdir and the owner file; the pid in the name is all there is to go by.
  return !isAlive(Number.parseInt(name, 10));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function readJournal(path: string): Promise<Leftover[]> {
  // A journal that is there but cannot be read must not pass for an empty one, or what it names would be forgotten.
  const text = await readFile(join(path, journalFile), 'utf8').catch(emptyIfAbsent(''));
  return text.split('\n').flatMap((line) => Leftover.safeParse(parseJson(line)).data ?? []);
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
