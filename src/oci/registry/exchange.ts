import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Digest } from '../digest.ts';
import type { Blob } from '../image.ts';
import { parseRange } from './range.ts';
import { Refusal } from './refusal.ts';

/** One request and its answer. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  /** Fires when the connection is lost. */
  readonly gone: AbortSignal;
}

/** Answers with a body that is in memory. A HEAD gets the headers of the GET, `Content-Length` included. */
export function sendBytes(
  { request, response }: Exchange,
  status: number,
  headers: OutgoingHttpHeaders,
  body: Buffer,
): void {
  response.writeHead(status, { ...headers, 'Content-Length': body.length });
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** Answers without a body. */
export function sendEmpty({ response }: Exchange, status: number, headers: OutgoingHttpHeaders): void {
  response.writeHead(status, status === 204 ? headers : { ...headers, 'Content-Length': 0 });
  response.end();
}

export function sendRefusal(exchange: Exchange, refusal: Refusal): void {
  sendBytes(
    exchange,
    refusal.status,
    { ...refusal.headers, 'Content-Type': 'application/json' },
    refusal.body(),
  );
}

/**
 * Answers with a blob, or the range of it that was asked for, at the client's pace: the next bytes are read when the
 * last ones have left, since the blob may reuse their buffer. A client that goes away ends it quietly.
 */
export async function sendBlob(
  exchange: Exchange,
  blob: Blob,
  mediaType: string,
  onBytes: ((n: number) => void) | undefined,
): Promise<void> {
  const { request, response } = exchange;
  const headers = {
    'Content-Type': mediaType,
    'Docker-Content-Digest': blob.digest satisfies Digest,
    'Accept-Ranges': 'bytes',
  };
  if (request.method === 'HEAD') {
    response.writeHead(200, { ...headers, 'Content-Length': blob.size });
    response.end();
    return;
  }
  // There is no validator that an If-Range could name, so its Range does not count (RFC 9110 §13.1.5).
  const conditional = request.headers['if-range'] !== undefined;
  const range = conditional ? undefined : parseRange(request.headers.range, blob.size);
  if (range === 'unsatisfiable') {
    throw new Refusal(416, 'RANGE_INVALID', 'the range lies outside the blob', {
      'Content-Range': `bytes */${blob.size}`,
    });
  }
  const { start, end } = range ?? { start: 0, end: blob.size };
  const chunks = blob.read(start, end)[Symbol.asyncIterator]();
  try {
    // The first read comes before the status line, so that a blob that cannot be read at all is a 500.
    let next = await chunks.next();
    response.writeHead(range === undefined ? 200 : 206, {
      ...headers,
      'Content-Length': end - start,
      ...(range === undefined ? {} : { 'Content-Range': `bytes ${start}-${end - 1}/${blob.size}` }),
    });
    let left = end - start;
    while (next.done !== true) {
      const { length } = next.value;
      if (!(await written(exchange, next.value))) return;
      left -= length;
      onBytes?.(length);
      next = await chunks.next();
    }
    if (left !== 0) throw new Error(`blob ${blob.digest} is ${left} bytes short`);
    response.end();
  } finally {
    await chunks.return?.();
  }
}

/** Whether the bytes went to the kernel; false when the client has gone. */
function written({ response, gone }: Exchange, chunk: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const onGone = () => resolve(false);
    if (gone.aborted) return onGone();
    gone.addEventListener('abort', onGone, { once: true });
    response.write(chunk, (error) => {
      gone.removeEventListener('abort', onGone);
      resolve(error === undefined || error === null);
    });
  });
}
