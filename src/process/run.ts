import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { CommandMissing, DeadlineExceeded } from './errors.ts';

export interface RunOptions {
  /** Laid over our own environment; `undefined` removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Written to the child's standard input, which is otherwise empty. */
  readonly input?: string | Uint8Array;
  /** Of a stream: its standard input stays open after `input`, until `closeInput` or its end. */
  readonly holdInput?: boolean;
  /** Piped into the child's standard input instead of `input`. What the child does not read is let go. */
  readonly source?: Readable;
  /** Milliseconds until the child's process group is killed. No deadline by default. */
  readonly deadlineMs?: number;
  /** Kills the process group when it fires; the call then throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called for every line as it arrives (also those ended by a bare carriage return). */
  readonly onLine?: (line: string, stream: 'stdout' | 'stderr') => void;
  /** Called with the pid as soon as the child runs. */
  readonly onStart?: (pid: number) => void | Promise<void>;
  /** Of a stream: standard error is read together with standard output, as it comes. */
  readonly joinStderr?: boolean;
  /** How much of each stream's end is kept, in bytes. 256 KiB by default. */
  readonly captureBytes?: number;
}

export interface RunResult {
  /** The exit status; 128 + n when signal n ended the child. */
  readonly code: number;
  /** The end of each stream, at most `captureBytes` of it. */
  readonly stdout: string;
  readonly stderr: string;
}

export interface StreamedChild extends AsyncDisposable {
  /** Nothing of it is lost, however late it is read. The child counts as gone when it was read to its end. */
  readonly stdout: Readable;
  /** Ends what `holdInput` held. */
  closeInput(): void;
  /** Settles when the child is gone. Never rejects for an exit status; rejects as `run` does otherwise. */
  readonly done: Promise<RunResult>;
}

const defaultCaptureBytes = 256 * 1024;
/** Between the polite signal and the final one. */
const graceMs = 3_000;
/** How long the last words of a program that has ended are waited for. */
const drainMs = 1_000;

/**
 * Runs a program to its end: no shell, its own process group, bounded capture. A non-zero exit is a result, not an
 * error.
 * @throws CommandMissing when there is no such program, DeadlineExceeded, or the reason of `signal`.
 */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const child = start(command, args, options, ['pipe', 'pipe', 'pipe']);
  return finish(child, command, options, true);
}

/**
 * Starts a program whose standard output the caller reads at its own pace; standard error is captured. Disposing kills
 * what still runs and waits for it.
 */
export function stream(command: string, args: readonly string[], options: RunOptions = {}): StreamedChild {
  const child = start(command, args, options, ['pipe', 'pipe', 'pipe']);
  const done = finish(child, command, options, false);
  done.catch(() => undefined);
  if (child.stdout === null) throw new CommandMissing({ command });
  const stdout = options.joinStderr === true ? join(child) : keepUnread(child.stdout);
  return {
    stdout,
    done,
    closeInput: () => child.stdin?.end(),
    async [Symbol.asyncDispose]() {
      stdout.destroy();
      child.stdout?.destroy();
      killGroup(child, 'SIGKILL');
      await done.catch(() => undefined);
    },
  };
}

function start(
  command: string,
  args: readonly string[],
  options: RunOptions,
  stdio: SpawnOptions['stdio'] & object,
) {
  options.signal?.throwIfAborted();
  // A group of its own, so that grandchildren die with it and a Ctrl-C in the terminal reaches us alone.
  const child = spawn(command, [...args], {
    env: overlay(options.env),
    cwd: options.cwd,
    stdio,
    detached: true,
  });
  child.stdin?.on('error', () => undefined);
  if (options.source !== undefined && child.stdin !== null) feed(options.source, child.stdin);
  else if (options.holdInput === true) child.stdin?.write(options.input ?? '');
  else child.stdin?.end(options.input ?? '');
  return child;
}

/**
 * Node throws away what a child wrote that ends before anybody reads (lib/child_process.js, flushStdio), unless somebody
 * waits for it to be readable. So that is done until somebody reads, in whichever way.
 */
function keepUnread(stdout: Readable): Readable {
  const wait = () => undefined;
  const leave = (event: string | symbol, listener: unknown) => {
    if ((event !== 'data' && event !== 'readable') || listener === wait) return;
    stdout.off('newListener', leave);
    stdout.off('readable', wait);
  };
  stdout.on('newListener', leave);
  stdout.on('readable', wait);
  return stdout;
}

function join(child: ChildProcess): Readable {
  const both = new PassThrough();
  both.on('error', () => undefined);
  const sources = [child.stdout, child.stderr].filter((source) => source !== null);
  let open = sources.length;
  for (const source of sources) {
    source.pipe(both, { end: false });
    source.once('close', () => {
      open -= 1;
      if (open === 0) both.end();
    });
  }
  return both;
}

/** A source that breaks leaves the child without the end that it expects, so that it cannot take half for the whole. */
function feed(source: Readable, target: Writable): void {
  source.once('error', () => target.destroy());
  target.once('close', () => source.destroy());
  source.pipe(target);
}

function overlay(env: RunOptions['env']): NodeJS.ProcessEnv {
  const merged: NodeJS.ProcessEnv = { ...process.env };
  for (const [name, value] of Object.entries(env ?? {})) {
    if (value === undefined) delete merged[name];
    else merged[name] = value;
  }
  return merged;
}

async function finish(
  child: ChildProcess,
  command: string,
  options: RunOptions,
  readsStdout: boolean,
): Promise<RunResult> {
  const limit = options.captureBytes ?? defaultCaptureBytes;
  const stdout = new Tail(limit, splitterFor(options.onLine, 'stdout'));
  const stderr = new Tail(limit, splitterFor(options.onLine, 'stderr'));
  if (readsStdout) child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));

  let stopped: unknown;
  let insist: NodeJS.Timeout | undefined;
  let drained: NodeJS.Timeout | undefined;
  const stop = (reason: unknown) => {
    if (stopped !== undefined) return;
    stopped = reason;
    killGroup(child, 'SIGTERM');
    insist = setTimeout(() => {
      killGroup(child, 'SIGKILL');
      letGo();
    }, graceMs);
  };
  // Whoever of the group outlived the leader dies with it when the group was told to stop. A group's number is not
  // given to others while it has members, and right at the leader's exit it has not been given to others yet.
  child.once('exit', () => {
    if (stopped !== undefined) signalGroup(child, 'SIGKILL');
    drained = setTimeout(() => setImmediate(letGo), drainMs);
  });
  // A descendant that left the group may hold the pipes open for as long as it lives; nobody waits for it. What the
  // caller still reads is left to the caller, unless it was told to stop.
  const letGo = () => {
    child.stderr?.destroy();
    if (readsStdout || stopped !== undefined) child.stdout?.destroy();
  };
  const onAbort = () => stop(options.signal?.reason);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  const deadline =
    options.deadlineMs === undefined
      ? undefined
      : setTimeout(
          () => stop(new DeadlineExceeded({ command, deadlineMs: options.deadlineMs ?? 0 })),
          options.deadlineMs,
        );
  try {
    const ended = new Promise<number>((resolve, reject) => {
      child.once('error', (error: NodeJS.ErrnoException) => {
        reject(error.code === 'ENOENT' || error.code === 'EACCES' ? new CommandMissing({ command }) : error);
      });
      child.once('close', (code, signal) =>
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
      );
    });
    ended.catch(() => undefined);
    if (child.pid !== undefined) {
      try {
        await options.onStart?.(child.pid);
      } catch (error) {
        stop(error);
      }
    }
    const code = await ended;
    if (stopped !== undefined) throw stopped;
    return { code, stdout: stdout.end(), stderr: stderr.end() };
  } finally {
    clearTimeout(deadline);
    clearTimeout(insist);
    clearTimeout(drained);
    options.signal?.removeEventListener('abort', onAbort);
  }
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  const exited = child.exitCode !== null || child.signalCode !== null;
  const silent = child.stdout?.closed !== false && child.stderr?.closed !== false;
  // Once the leader is gone, only an open pipe tells that its group still has members, and the number is still theirs.
  if (!(exited && silent)) signalGroup(child, signal);
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Gone already.
  }
}

/** Keeps the last bytes of a stream, and no more of it. */
export class Tail {
  #chunks: Buffer[] = [];
  #size = 0;
  readonly #limit: number;
  readonly #lines: LineSplitter | undefined;

  constructor(limit = defaultCaptureBytes, lines?: LineSplitter) {
    this.#limit = limit;
    this.#lines = lines;
  }

  push(chunk: Buffer): void {
    this.#lines?.write(chunk);
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    while (this.#chunks.length > 1 && this.#size - (this.#chunks[0]?.length ?? 0) >= this.#limit) {
      this.#size -= this.#chunks.shift()?.length ?? 0;
    }
  }

  end(): string {
    this.#lines?.end();
    const all = Buffer.concat(this.#chunks);
    return all.subarray(Math.max(0, all.length - this.#limit)).toString('utf8');
  }
}

/** A line longer than this arrives in pieces, so that a child that ends none costs no more memory. */
const maxLineLength = 64 * 1024;

class LineSplitter {
  readonly #decoder = new StringDecoder('utf8');
  readonly #onLine: (line: string) => void;
  #rest = '';
  /** Whether the last line was ended by a carriage return, whose line feed may come with the next chunk. */
  #afterReturn = false;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  write(chunk: Buffer): void {
    let text = this.#decoder.write(chunk);
    if (text === '') return;
    if (this.#afterReturn && text.startsWith('\n')) text = text.slice(1);
    this.#afterReturn = text.endsWith('\r');
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#onLine(line);
    if (this.#rest.length >= maxLineLength) {
      this.#onLine(this.#rest);
      this.#rest = '';
    }
  }

  end(): void {
    const last = this.#rest + this.#decoder.end();
    if (last !== '') this.#onLine(last);
  }
}

function splitterFor(onLine: RunOptions['onLine'], name: 'stdout' | 'stderr'): LineSplitter | undefined {
  return onLine === undefined ? undefined : new LineSplitter((line) => onLine(line, name));
}
