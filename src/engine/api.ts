import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import * as v from 'valibot';
import { fit } from '../schema.ts';

// An `import` of it reads every export, and the one called WebSocket loads an HTTP client: 45 ms of every command.
const { request } = process.getBuiltinModule('node:http');

export interface ApiOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD';
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent with the request: a text whole, a stream as it comes. */
  readonly body?: string | Readable;
  /** Milliseconds until the first byte of the answer. No limit by default: a save may think for many seconds. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * One request to an engine's Docker API over a Unix socket. Paths carry no version: every engine then answers with its
 * newest, and none refuses us for being too old or too new.
 * @returns the answer with its body unread, whatever its status.
 */
export function apiRequest(
  socketPath: string,
  path: string,
  options: ApiOptions = {},
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    options.signal?.throwIfAborted();
    const call = request({
      socketPath,
      path,
      method: options.method ?? 'GET',
      // Docker's API wants a Host; which one makes no difference on a socket.
      headers: { Host: 'docker', Connection: 'close', ...options.headers },
      agent: false,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const timer = limit(call, options.timeoutMs);
    call.once('response', (response) => {
      clearTimeout(timer);
      resolve(response);
    });
    call.once('error', (error) => {
      clearTimeout(timer);
      reject(options.signal?.aborted === true ? options.signal.reason : error);
    });
    if (typeof options.body === 'object') {
      options.body.once('error', (error) => call.destroy(error));
      // The answer may come, and refuse, before all was sent; whoever wrote the stream then need not write on.
      call.once('close', () => (options.body as Readable).destroy());
      options.body.pipe(call);
    } else call.end(options.body);
  });
}

/** Gives a request up that long after; for whoever hears of it before to clear. */
function limit(call: ClientRequest, ms: number | undefined): NodeJS.Timeout | undefined {
  if (ms === undefined) return undefined;
  return setTimeout(() => call.destroy(new Error(`no answer in ${ms} ms`)), ms);
}

/**
 * As `apiRequest`, for a request that turns its connection into a plain stream of both directions, which the engine
 * calls hijacking (moby, docs/api: "Upgrade: tcp").
 * @returns the connection, or the answer of an engine that refuses.
 */
export function apiHijack(
  socketPath: string,
  path: string,
  options: Pick<ApiOptions, 'timeoutMs'> & { readonly body: string },
): Promise<{ readonly connection: Socket } | { readonly refusal: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    const call = request({
      socketPath,
      path,
      method: 'POST',
      headers: {
        Host: 'docker',
        Connection: 'Upgrade',
        Upgrade: 'tcp',
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(options.body),
      },
      agent: false,
    });
    const timer = limit(call, options.timeoutMs);
    call.once('upgrade', (_response, connection: Socket, head: Buffer) => {
      clearTimeout(timer);
      if (head.length > 0) connection.unshift(head);
      resolve({ connection });
    });
    call.once('response', (refusal) => {
      clearTimeout(timer);
      resolve({ refusal });
    });
    call.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    call.end(options.body);
  });
}

/** The whole body of an answer, as text; bodies over 4 MiB are refused. */
export async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > 4 * 1024 * 1024) throw new Error('the answer of the engine is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The JSON of a successful answer. @throws Error with the engine's words otherwise. */
export async function apiJson(socketPath: string, path: string, options: ApiOptions = {}): Promise<unknown> {
  const response = await apiRequest(socketPath, path, options);
  const body = await bodyOf(response);
  if (response.statusCode !== 200) throw new Error(messageOf(body));
  return JSON.parse(body);
}

const ApiError = v.object({ message: v.string() });

/** What an engine's error body says: `{"message": "..."}` (moby, api/types/error_response.go). */
export function messageOf(body: string): string {
  try {
    return fit(ApiError, JSON.parse(body)).message;
  } catch {
    return body.trim();
  }
}
