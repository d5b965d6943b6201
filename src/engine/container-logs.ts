import { pipeline } from 'node:stream/promises';
import { produced } from '../process/produced.ts';
import { bodyOf } from './api.ts';
import { call, callMs } from './call.ts';
import type { Program } from './container-exec.ts';
import { containerMissing, inspectContainer } from './container-state.ts';
import { type Engine, signalOf } from './engine.ts';
import { Demultiplexer } from './multiplexed.ts';

export interface LogOptions {
  readonly follow: boolean;
  /** Lines from the end; all of them by default. */
  readonly tail?: number;
  readonly signal?: AbortSignal;
}

/**
 * What a container printed, both streams in one. Over the engine's socket in the order in which it was printed; through a
 * CLI, which has a pipe for each, in the order in which the pipes were read.
 */
export function readLogs(engine: Engine, name: string, options: LogOptions): Program {
  options.signal?.throwIfAborted();
  return engine.socket === undefined
    ? throughCli(engine, name, options)
    : overSocket(engine, engine.socket, name, options);
}

function overSocket(engine: Engine, socket: string, name: string, options: LogOptions): Program {
  return produced(async (stdout, signal) => {
    const found = await inspectContainer(engine, name, { signal });
    if (found === undefined) throw containerMissing(engine, 'logs', name);
    const response = await call(engine, socket, {
      request: 'logs',
      subject: name,
      method: 'GET',
      path: `/containers/${name}/logs?${queryOf(options)}`,
      signal,
    });
    if (found.Config.Tty) await pipeline(response, stdout);
    else await pipeline(response, new Demultiplexer(), stdout);
  }, options.signal);
}

function queryOf({ follow, tail }: Pick<LogOptions, 'follow' | 'tail'>): string {
  return `stdout=1&stderr=1&follow=${follow ? 1 : 0}&tail=${tail ?? 'all'}`;
}

function throughCli(engine: Engine, name: string, options: LogOptions): Program {
  const args = [
    'logs',
    ...(options.follow ? ['--follow'] : []),
    ...(options.tail === undefined ? [] : ['--tail', String(options.tail)]),
    name,
  ];
  const child = engine.stream(args, { ...signalOf(options.signal), joinStderr: true });
  const done = child.done.then((result) => {
    if (result.code !== 0) throw engine.failure('logs', result, name);
    return result;
  });
  done.catch(() => undefined);
  return { stdout: child.stdout, done, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() };
}

/**
 * When a container last printed a line; `undefined` when it has not. What has no end of line yet does not count until
 * the engine's own buffer for it is full (16 KiB with docker).
 */
export async function lastLogTime(
  engine: Engine,
  name: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<Date | undefined> {
  const text = await lastLine(engine, name, options);
  const stamp = text.match(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)/)?.[0];
  return stamp === undefined ? undefined : new Date(stamp);
}

async function lastLine(
  engine: Engine,
  name: string,
  { signal }: { readonly signal?: AbortSignal },
): Promise<string> {
  if (engine.socket === undefined) {
    const { stdout, stderr } = await engine.succeed('logs', ['logs', '--tail', '1', '--timestamps', name], {
      subject: name,
      deadlineMs: callMs,
      ...signalOf(signal),
    });
    // Each of the two has its own last line.
    return [stdout, stderr].sort().at(-1) ?? '';
  }
  const response = await call(engine, engine.socket, {
    request: 'logs',
    subject: name,
    method: 'GET',
    path: `/containers/${name}/logs?stdout=1&stderr=1&tail=1&timestamps=1`,
    ...signalOf(signal),
  });
  return bodyOf(response);
}
