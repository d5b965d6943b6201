import { PassThrough } from 'node:stream';
import { Tail } from '../process/run.ts';
import type { ExecResult, Streaming } from './backend.ts';

/** A program that is about to be started, as one that can be read and ended already. */
export function later(start: () => Promise<Streaming>, explain: (error: unknown) => unknown): Streaming {
  const stdout = new PassThrough();
  stdout.on('error', () => undefined);
  const started = start();
  const work = async () => {
    try {
      const program = await started;
      program.stdout.on('error', (error) => stdout.destroy(error));
      stdout.once('close', () => program.stdout.destroy());
      program.stdout.pipe(stdout);
      return await program.done;
    } catch (error) {
      const explained = explain(error);
      stdout.destroy(explained as Error);
      throw explained;
    }
  };
  const done = work();
  done.catch(() => undefined);
  return {
    stdout,
    done,
    async [Symbol.asyncDispose]() {
      stdout.destroy();
      const program = await started.catch(() => undefined);
      await program?.[Symbol.asyncDispose]();
      await done.catch(() => undefined);
    },
  };
}

/** Reads a program to its end. */
export async function captured(program: Streaming): Promise<ExecResult> {
  const stdout = new Tail();
  program.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
  const result = await program.done;
  return { ...result, stdout: stdout.end() };
}
