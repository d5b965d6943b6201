import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { apiRequest, bodyOf, messageOf } from './api.ts';
import { type Engine, signalOf } from './engine.ts';
import { EngineAnswerUnknown, EngineDenied, EngineUnreachable } from './errors.ts';

/** Milliseconds for one answer. Removing and stopping may wait for a kernel that is busy. */
export const callMs = 60_000;

export interface ApiCall {
  /** How it is called in a failure: `create`. */
  readonly request: string;
  readonly subject: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD';
  readonly path: string;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as a tar. */
  readonly tar?: Readable;
  /** Statuses, beside those of success, that the caller wants to see. */
  readonly accept?: readonly number[];
  /** Milliseconds until the first byte of the answer; `callMs` by default, `Infinity` for no limit. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * One call of the engine's API.
 * @returns the answer with its body unread; its status is one of success or of `accept`.
 * @throws EngineUnreachable, EngineDenied, EngineCommandFailed or ImageMissing, or the reason of the signal.
 */
export async function call(engine: Engine, socket: string, what: ApiCall): Promise<IncomingMessage> {
  const { timeoutMs = callMs } = what;
  const response = await apiRequest(socket, what.path, {
    method: what.method,
    ...(what.json === undefined
      ? {}
      : { body: JSON.stringify(what.json), headers: { 'Content-Type': 'application/json' } }),
    ...(what.tar === undefined ? {} : { body: what.tar, headers: { 'Content-Type': 'application/x-tar' } }),
    ...(Number.isFinite(timeoutMs) ? { timeoutMs } : {}),
    ...signalOf(what.signal),
  }).catch((error: Error) => {
    what.signal?.throwIfAborted();
    throw unanswered(engine, socket, error);
  });
  const status = response.statusCode ?? 0;
  if ((status >= 200 && status < 300) || what.accept?.includes(status) === true) return response;
  throw engine.failure(what.request, { code: 1, stderr: messageOf(await bodyOf(response)) }, what.subject);
}

/** As `call`, with the body read and thrown away. @returns the status. */
export async function callForStatus(engine: Engine, socket: string, what: ApiCall): Promise<number> {
  const response = await call(engine, socket, what);
  await bodyOf(response);
  return response.statusCode ?? 0;
}

/** As `call`, with the body as JSON; `undefined` for a status of `accept`. */
export async function callForJson(engine: Engine, socket: string, what: ApiCall): Promise<unknown> {
  const response = await call(engine, socket, what);
  const body = await bodyOf(response);
  if ((response.statusCode ?? 0) >= 300) return undefined;
  try {
    return JSON.parse(body);
  } catch {
    throw new EngineAnswerUnknown({
      command: engine.command,
      request: what.request,
      reason: 'it is no JSON',
    });
  }
}

/** What it means that a request over the socket got no answer. */
export function unanswered(engine: Engine, socket: string, error: NodeJS.ErrnoException): Error {
  const about = { command: engine.command, endpoint: `unix://${socket}`, words: error.message };
  return error.code === 'EACCES' ? new EngineDenied(about) : new EngineUnreachable(about);
}
