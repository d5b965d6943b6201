import { closeSync, fstatSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { produced } from '../../process/produced.ts';
import type { Streaming } from '../backend.ts';

/** As much of a command's output is kept as the docker backend keeps. */
const defaultFileBytes = 16 * 1024 * 1024;
const keptFiles = 4;
const namePattern = /^output-(\d{8})\.log$/;
/** Between two looks at what has come. */
const pollMs = 100;
const readBytes = 64 * 1024;

/** What a bottle's command printed, as it came: files of a bounded size, of which the oldest goes. */
export class SessionLog implements Disposable {
  readonly #directory: string;
  readonly #fileBytes: number;
  #number: number;
  #descriptor: number;
  #size: number;

  private constructor(directory: string, number: number, fileBytes: number) {
    this.#directory = directory;
    this.#fileBytes = fileBytes;
    this.#number = number;
    this.#descriptor = openSync(pathOf(directory, number), 'a', 0o600);
    this.#size = fstatSync(this.#descriptor).size;
  }

  /** Goes on with what is there. */
  static async open(
    directory: string,
    { fileBytes = defaultFileBytes }: { readonly fileBytes?: number } = {},
  ): Promise<SessionLog> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return new SessionLog(directory, (await numbersIn(directory)).at(-1) ?? 1, fileBytes);
  }

  /** Never fails: a full disk costs output that nobody sees, not the command. */
  append(bytes: Uint8Array): void {
    try {
      if (this.#size > 0 && this.#size + bytes.length > this.#fileBytes) this.#rotate();
      // In the page cache at once, so in order and without a queue of our own.
      this.#size += writeSync(this.#descriptor, bytes);
    } catch {
      // What cannot be kept is not.
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#descriptor);
  }

  #rotate(): void {
    const next = openSync(pathOf(this.#directory, this.#number + 1), 'a', 0o600);
    closeSync(this.#descriptor);
    this.#descriptor = next;
    this.#number += 1;
    this.#size = 0;
    for (const name of readdirSync(this.#directory)) {
      const number = numberOf(name);
      if (number !== undefined && number <= this.#number - keptFiles) rmSync(join(this.#directory, name));
    }
  }
}

/** When something was last printed; `undefined` when nothing has been. */
export async function lastOutputIn(directory: string): Promise<Date | undefined> {
  for (const number of (await numbersIn(directory)).reverse()) {
    const found = await stat(pathOf(directory, number)).catch(() => undefined);
    if (found !== undefined && found.size > 0) return found.mtime;
  }
  return undefined;
}

export interface ReadOptions {
  readonly follow: boolean;
  /** Lines from the end; all that is kept by default. */
  readonly tail?: number;
  readonly signal?: AbortSignal;
  /** Asked when there is nothing new: whether nothing will come any more. */
  readonly isOver: () => Promise<boolean>;
}

/** Reads what is kept, and with `follow` what comes, to the end. Also from another process than the one that writes. */
export function readSessionLog(directory: string, options: ReadOptions): Streaming {
  return produced(async (stdout, signal) => {
    for await (const bytes of outputIn(directory, options, signal)) {
      if (stdout.destroyed) break;
      if (!stdout.write(bytes)) await drained(stdout, signal);
    }
    stdout.end();
  }, options.signal);
}

function drained(stream: PassThrough, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new Error('nobody reads any more'));
    const go = () => {
      signal.removeEventListener('abort', stop);
      resolve();
    };
    signal.addEventListener('abort', stop, { once: true });
    stream.once('drain', go).once('close', go);
  });
}

/** The bytes of all files in order, and of those that come while it reads. */
async function* outputIn(
  directory: string,
  { follow, tail, isOver }: ReadOptions,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let { number, at } = tail === undefined ? { number: 0, at: 0 } : await tailOf(directory, tail);
  for (;;) {
    signal.throwIfAborted();
    // Before the look: what was printed until then is there.
    const isLast = !follow || (await isOver());
    for (;;) {
      const numbers = await numbersIn(directory);
      const next = numbers.find((each) => each >= number);
      if (next === undefined) break;
      if (next !== number) at = 0;
      number = next;
      for await (const bytes of bytesOf(pathOf(directory, number), at)) {
        signal.throwIfAborted();
        at += bytes.length;
        yield bytes;
      }
      // The next file is begun only when nothing more comes into this one.
      if (!numbers.some((each) => each > number)) break;
      for await (const bytes of bytesOf(pathOf(directory, number), at)) yield bytes;
      number += 1;
      at = 0;
    }
    if (isLast) return;
    await sleep(pollMs, undefined, { signal });
  }
}

async function* bytesOf(path: string, from: number): AsyncGenerator<Buffer> {
  const opened = await openIfThere(path);
  if (opened === undefined) return;
  await using file = opened;
  for (let at = from; ;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(readBytes), 0, readBytes, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** Where the last lines begin. An end of line at the very end begins none. */
async function tailOf(directory: string, lines: number): Promise<{ number: number; at: number }> {
  const numbers = (await numbersIn(directory)).reverse();
  const newest = numbers[0] ?? 0;
  let wanted = lines;
  let isEnd = true;
  for (const number of numbers) {
    const opened = await openIfThere(pathOf(directory, number));
    if (opened === undefined) break;
    await using file = opened;
    const { size } = await file.stat();
    if (isEnd && wanted === 0) return { number, at: size };
    for (let end = size; end > 0;) {
      const start = Math.max(0, end - readBytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(end - start), 0, end - start, start);
      for (let at = bytesRead - 1; at >= 0; at--) {
        if (buffer[at] === 0x0a && !isEnd && --wanted === 0) return { number, at: start + at + 1 };
        isEnd = false;
      }
      end = start;
    }
  }
  return { number: numbers.at(-1) ?? newest, at: 0 };
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  return await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}

async function numbersIn(directory: string): Promise<number[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names.flatMap((name) => numberOf(name) ?? []).sort((a, b) => a - b);
}

function numberOf(name: string): number | undefined {
  const digits = namePattern.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function pathOf(directory: string, number: number): string {
  return join(directory, `output-${String(number).padStart(8, '0')}.log`);
}
