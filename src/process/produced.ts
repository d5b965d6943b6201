import { PassThrough, type Readable } from 'node:stream';
import type { RunResult } from './run.ts';

/** Output that this process itself makes, to be read and ended as a program's is. */
export interface Produced extends AsyncDisposable {
  readonly stdout: Readable;
  readonly done: Promise<RunResult>;
}

/**
 * @param work writes the output, and is over when all of it is written; it ends with its signal, which is also aborted when
 * nobody wants the output any more.
 * @param outer fails what is made, with its reason.
 */
export function produced(
  work: (stdout: PassThrough, signal: AbortSignal) => Promise<void>,
  outer?: AbortSignal,
): Produced {
  outer?.throwIfAborted();
  const gone = new AbortController();
  const signal = outer === undefined ? gone.signal : AbortSignal.any([outer, gone.signal]);
  const stdout = new PassThrough();
  stdout.on('error', () => undefined);
  const done = work(stdout, signal).then(
    () => ({ code: 0, stdout: '', stderr: '' }),
    (error: unknown) => {
      const reason: unknown = outer?.aborted === true ? outer.reason : error;
      stdout.destroy(reason instanceof Error ? reason : new Error(String(reason)));
      throw reason;
    },
  );
  done.catch(() => undefined);
  return {
    stdout,
    done,
    async [Symbol.asyncDispose]() {
      gone.abort();
      stdout.destroy();
      await done.catch(() => undefined);
    },
  };
}
