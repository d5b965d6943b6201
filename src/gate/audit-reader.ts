import { constants } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { ifFits, int, number } from '../schema.ts';
import type { AuditRecord } from './audit.ts';
import { AuditUnreadable } from './errors.ts';

/** A line of the log as it is read back. What a later version adds is ignored. */
export const AuditLine: v.GenericSchema<unknown, AuditRecord> = v.object({
  time: v.string(),
  slug: v.string(),
  event: v.picklist(['request', 'open', 'close', 'policy', 'seal']),
  decision: v.picklist(['allow', 'deny', 'fail']),
  host: v.optional(v.string()),
  port: v.optional(int),
  method: v.optional(v.string()),
  path: v.optional(v.string()),
  rule: v.optional(v.string()),
  origin: v.optional(v.string()),
  reason: v.optional(v.string()),
  status: v.optional(int),
  address: v.optional(v.string()),
  in: int,
  out: int,
  ms: number,
});

export interface ReadAuditOptions {
  /** Wait for what is written from now on, until `signal` fires. */
  readonly follow?: boolean;
  /** Ends the reading, quietly. */
  readonly signal?: AbortSignal;
}

const pollMs = 200;
/** Longer than any line of ours. */
const maxLine = 64 << 10;

/**
 * The records of a log, the oldest first, through its rotated files (`.3`, `.2`, `.1`, then itself); a rotation meanwhile
 * loses and repeats nothing, unless the reader is so slow that its file is dropped. What is no record, such as a line that
 * a killed writer left unfinished, is passed over. A log that is not there is empty.
 * @throws AuditUnreadable
 */
export async function* readAudit(
  path: string,
  { follow = false, signal }: ReadAuditOptions = {},
): AsyncGenerator<AuditRecord, void, void> {
  let current: FileHandle | undefined;
  try {
    for (;;) {
      const next: FileHandle | undefined = await successor(path, current);
      if (next === undefined) {
        if (current !== undefined || !follow || (await isOver(signal))) return;
        continue;
      }
      await current?.close();
      current = next;
      const lines = new Lines();
      for (;;) {
        // Asked first: what is still written before the file was put aside is read below.
        const isLast = (await newer(path, current)) === 'none';
        for (;;) {
          if (signal?.aborted === true) return;
          const { bytesRead, buffer } = await current.read(Buffer.allocUnsafe(64 << 10), 0, 64 << 10);
          if (bytesRead === 0) break;
          for (const line of lines.take(buffer.subarray(0, bytesRead))) {
            const record = parse(line);
            if (record !== undefined) yield record;
          }
        }
        if (!isLast) break;
        if (!follow || (await isOver(signal))) return;
      }
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new AuditUnreadable({ path, code }, { cause: error });
  } finally {
    await current?.close();
  }
}

/** Whether the wait for more was ended. */
async function isOver(signal: AbortSignal | undefined): Promise<boolean> {
  try {
    await sleep(pollMs, undefined, signal === undefined ? {} : { signal });
    return false;
  } catch {
    return true;
  }
}

/** The file after `current`, or the oldest; `undefined` if there is none. */
async function successor(path: string, current: FileHandle | undefined): Promise<FileHandle | undefined> {
  for (;;) {
    const from = current === undefined ? 'lost' : await newer(path, current);
    if (from === 'none') return undefined;
    const age = from === 'lost' ? (await ages(path))[0] : from - 1;
    if (age === undefined) return undefined;
    const next = await openRegular(nameOf(path, age));
    if (next === undefined) {
      // The name is between two files: somebody is rotating right now.
      if (current === undefined && age === 0) return undefined;
      await sleep(1);
      continue;
    }
    // A rotation since then would have put another file under this name, and one name further the file before it.
    let isIt = false;
    try {
      const isOldest = current === undefined || from === 'lost';
      isIt = isOldest ? (await ages(path))[0] === age : (await newer(path, current)) === from;
    } finally {
      if (!isIt) await next.close();
    }
    if (isIt) return next;
  }
}

/** At which age a file stands, if it has a newer one; `lost` if it was dropped meanwhile. */
async function newer(path: string, file: FileHandle): Promise<number | 'none' | 'lost'> {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const { ino, nlink } = await file.stat();
    if (nlink === 0) return 'lost';
    // From the youngest, which is the way that files move, so that one that moves meanwhile is met later.
    for (let age = 0, gap = 0; gap < 2; age += 1) {
      const there = await inodeOf(nameOf(path, age));
      if (there === ino) return age === 0 ? 'none' : age;
      gap = there === undefined ? gap + 1 : 0;
    }
    await sleep(1);
  }
  return 'lost';
}

/** The ages of the files that are there, the oldest first; 0 is the log itself. */
async function ages(path: string): Promise<number[]> {
  const name = basename(path);
  const names = await readdir(dirname(path)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names
    .flatMap((one) => {
      if (one === name) return [0];
      const age = one.startsWith(`${name}.`) ? one.slice(name.length + 1) : '';
      return /^[1-9][0-9]{0,3}$/.test(age) ? [Number(age)] : [];
    })
    .sort((a, b) => b - a);
}

function nameOf(path: string, age: number): string {
  return age === 0 ? path : join(dirname(path), `${basename(path)}.${age}`);
}

async function openRegular(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function inodeOf(path: string): Promise<number | undefined> {
  return await stat(path).then(
    ({ ino }) => ino,
    () => undefined,
  );
}

function parse(line: string): AuditRecord | undefined {
  try {
    return ifFits(AuditLine, JSON.parse(line));
  } catch {
    return undefined;
  }
}

/** Cuts bytes into lines, and holds back the one that is not whole yet. */
class Lines {
  #rest = '';

  *take(bytes: Buffer): Generator<string, void, void> {
    // The log is ASCII, so a read cannot cut a character.
    const lines = (this.#rest + bytes.toString('latin1')).split('\n');
    const rest = lines.pop() ?? '';
    // What is longer is no record; its end will be none either.
    this.#rest = rest.length > maxLine ? '' : rest;
    yield* lines;
  }
}
