import { PassThrough, type Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeadlineExceeded } from './errors.ts';
import type { RunResult, StreamedChild } from './run.ts';

/** A program that ends itself, with all that it started, when its standard input ends. */
export interface TiedOptions {
  /** Written to its standard input, which then stays open. */
  readonly input: string;
  /** How a deadline calls it. */
  readonly called: string;
  /** Milliseconds until its standard input is ended; the program's `done` then rejects with DeadlineExceeded. */
  readonly timeoutMs?: number;
  /** The same, with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Disposing ends it and waits until it is gone. */
export interface TiedChild extends AsyncDisposable {
  readonly stdout: Readable;
  readonly done: Promise<RunResult>;
}

/** Between the end of the standard input and the moment we stop waiting for the program to take note. */
export const tiedGraceMs = 5_000;
const turnMs = 100;

/**
 * A child that was started with `holdInput`, as one whose end is the end of its input.
 * @param judge tells what its end means, and throws when it is a failure of who was to run it.
 */
export function tied(
  child: StreamedChild,
  options: TiedOptions,
  judge: (result: RunResult) => Promise<RunResult>,
): TiedChild {
  // A stream of its own, so that what the caller leaves unread can be let go without breaking the program's pipe.
  const stdout = child.stdout.pipe(new PassThrough());
  let ending: Promise<void> | undefined;
  const end = () => (ending ??= endTied(child, over));
  const ended = stopper(options, () => void end());
  const done = ended.watch(child.done.then(judge));
  const over = done.then(
    () => true,
    () => true,
  );
  return {
    stdout,
    done,
    async [Symbol.asyncDispose]() {
      stdout.destroy();
      await end();
      await child[Symbol.asyncDispose]();
    },
  };
}

/**
 * Ends the input, and waits until the program is gone. Podman's conmon does not come to the end of the input as long as
 * output keeps it busy, and a program's end is told only once its output was read: so in turns.
 */
async function endTied(child: StreamedChild, over: Promise<boolean>): Promise<void> {
  child.closeInput();
  const within = (ms: number) => Promise.race([over, sleep(ms, false, { ref: false })]);
  for (const limit = Date.now() + tiedGraceMs; Date.now() < limit;) {
    child.stdout.pause();
    if (await within(turnMs)) return;
    child.stdout.resume();
    if (await within(turnMs)) return;
  }
  await child[Symbol.asyncDispose]();
}

/** Ends a program at its deadline or on its signal, and makes its end say so. */
export function stopper(program: TiedOptions, end: () => void) {
  let reason: unknown;
  const stop = (why: unknown) => {
    if (reason !== undefined) return;
    reason = why;
    end();
  };
  const { timeoutMs, signal } = program;
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(
          () => stop(new DeadlineExceeded({ command: program.called, deadlineMs: timeoutMs })),
          timeoutMs,
        );
  const onAbort = () => stop(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  return {
    stop,
    watch(work: Promise<RunResult>): Promise<RunResult> {
      const done = work
        .catch((error: unknown) => {
          throw reason ?? error;
        })
        .then((result) => {
          if (reason !== undefined) throw reason;
          return result;
        })
        .finally(() => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', onAbort);
        });
      done.catch(() => undefined);
      return done;
    },
  };
}
