import { type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Credential } from '../../../src/oci/registry/credential.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The code of the spec's error document, if the body is one. */
  readonly code: string | undefined;
}

export interface Question {
  readonly method?: string;
  readonly as?: Credential;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string | readonly Uint8Array[];
}

export function basic({ username, password }: Credential): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** One request on a connection of its own. A body given as a list is sent chunked, one piece a chunk. */
export function ask(host: string, path: string, question: Question = {}): Promise<Answer> {
  const { method = 'GET', as, headers = {}, body } = question;
  return new Promise((resolve, reject) => {
    const outgoing = request(
      `http://${host}${path}`,
      {
        method,
        agent: false,
        headers: { ...(as === undefined ? {} : { authorization: basic(as) }), ...headers },
      },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('error', reject);
        incoming.on('end', () => {
          const whole = Buffer.concat(chunks);
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: whole,
            code: codeOf(whole),
          });
        });
      },
    );
    outgoing.on('error', reject);
    if (Array.isArray(body)) {
      for (const piece of body) outgoing.write(piece);
      outgoing.end();
    } else if (body !== undefined) {
      outgoing.setHeader('content-length', Buffer.byteLength(body as Uint8Array | string));
      outgoing.end(body);
    } else outgoing.end();
  });
}

function codeOf(body: Buffer): string | undefined {
  try {
    const { errors } = JSON.parse(body.toString('utf8'));
    const [{ code, message, detail }] = errors;
    return typeof message === 'string' && typeof detail === 'object' ? code : undefined;
  } catch {
    return undefined;
  }
}

/** Sends bytes as they are and returns all that comes back until the other side closes. */
export function raw(port: number, text: string | Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      answer += chunk;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
}

/** A connection that has sent `text` and reads nothing yet. */
export function silent(port: number, text: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.pause();
      socket.write(text, () => resolve(socket));
    });
    socket.once('error', reject);
  });
}

/** Whether anything listens on the port. */
export function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
