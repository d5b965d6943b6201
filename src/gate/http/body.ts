import { malformed } from '../refusal.ts';
import { type Field, type Fields, parseFields, type RequestHead, type ResponseHead } from './head.ts';

/** How far a body reaches (RFC 9112 §6.3). */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'close' };

/** The framing of a request's body; only what has one reading. @throws Refusal */
export function requestFraming({ minor, fields }: RequestHead): Framing {
  return declared(fields, minor) ?? { kind: 'none' };
}

/** The framing of a response's body. @throws Refusal */
export function responseFraming({ status, minor, fields }: ResponseHead, method: string): Framing {
  const framing = declared(fields, minor);
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return { kind: 'none' };
  return framing ?? { kind: 'close' };
}

function declared(fields: Fields, minor: 0 | 1): Framing | undefined {
  const lengths = fields.all('content-length');
  const codings = fields.all('transfer-encoding');
  if (codings.length > 0) {
    if (lengths.length > 0) throw malformed('there are both Content-Length and Transfer-Encoding');
    if (minor === 0) throw malformed('Transfer-Encoding in HTTP/1.0');
    if (codings.length > 1 || codings[0]?.toLowerCase() !== 'chunked') {
      throw malformed('the Transfer-Encoding is not "chunked"');
    }
    return { kind: 'chunked' };
  }
  const [length] = lengths;
  if (length === undefined) return undefined;
  if (lengths.length > 1) throw malformed('there is more than one Content-Length');
  if (!/^[0-9]{1,15}$/.test(length)) throw malformed('the Content-Length is not a number');
  return { kind: 'length', length: Number(length) };
}

/** Takes a body out of a byte stream. */
export interface BodyDecoder {
  readonly done: boolean;
  /** So many bytes may pass as they are, `Infinity` up to the end; `undefined` if they must be looked at. Asked first. */
  readonly plain: number | undefined;
  /** Known once done. */
  readonly trailers: readonly Field[];
  /** The data in `bytes`, as slices of it. What comes after the body's end is left in `rest`. @throws Refusal */
  decode(bytes: Buffer): { readonly data: readonly Buffer[]; readonly rest: Buffer | undefined };
  /** The stream has ended. Whether the body is whole. */
  end(): boolean;
}

export function bodyDecoder(framing: Framing, from: 'request' | 'response'): BodyDecoder {
  switch (framing.kind) {
    case 'none':
      return new LengthDecoder(0);
    case 'length':
      return new LengthDecoder(framing.length);
    case 'chunked':
      return new ChunkedDecoder(from === 'response');
    case 'close':
      return new CloseDecoder();
  }
}

class LengthDecoder implements BodyDecoder {
  readonly trailers = [];
  #left: number;

  constructor(length: number) {
    this.#left = length;
  }

  get done(): boolean {
    return this.#left === 0;
  }

  get plain(): number {
    return this.#left;
  }

  decode(bytes: Buffer) {
    const data = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes;
    this.#left -= data.length;
    return { data: [data], rest: data === bytes ? undefined : bytes.subarray(data.length) };
  }

  end(): boolean {
    return this.done;
  }
}

class CloseDecoder implements BodyDecoder {
  readonly trailers = [];
  readonly plain = Infinity;
  done = false;

  decode(bytes: Buffer) {
    return { data: [bytes], rest: undefined };
  }

  end(): boolean {
    this.done = true;
    return true;
  }
}

const maxSizeLine = 1024;
const maxTrailerBytes = 16 << 10;

const strictSize = /^([0-9a-f]{1,12})(?:;[\t\x20-\x7e]*)?$/i;
/** Some servers pad the size with spaces; no client does. */

const paddedSize = /^([0-9a-f]{1,12})[\t ]*(?:;[\t\x20-\x7e]*)?$/i;

/** Trailers that would change the message they end (RFC 9110 §6.5.1). */
const notTrailers = new Set([
  'transfer-encoding',
  'content-length',
  'host',
  'connection',
  'trailer',
  'te',
  'upgrade',
  'authorization',
  'cookie',
  'set-cookie',
  'content-encoding',
  'content-type',
  'content-range',
]);

/** RFC 9112 §7.1. Chunk extensions are read and dropped. */
class ChunkedDecoder implements BodyDecoder {
  readonly plain = undefined;
  trailers: readonly Field[] = [];
  #state: 'size' | 'data' | 'data-end' | 'trailer' | 'done' = 'size';
  #left = 0;
  /** The line under way, when it spans reads. */
  #line = '';
  #trailerLines: string[] = [];
  #trailerBytes = 0;
  readonly #padded: boolean;

  constructor(padded: boolean) {
    this.#padded = padded;
  }

  get done(): boolean {
    return this.#state === 'done';
  }

  end(): boolean {
    return this.done;
  }

  decode(bytes: Buffer) {
    const data: Buffer[] = [];
    let at = 0;
    while (at < bytes.length && !this.done) {
      if (this.#state === 'data') {
        const piece = bytes.subarray(at, at + this.#left);
        data.push(piece);
        at += piece.length;
        this.#left -= piece.length;
        if (this.#left === 0) this.#state = 'data-end';
      } else {
        at = this.#takeLine(bytes, at);
      }
    }
    return { data, rest: at < bytes.length ? bytes.subarray(at) : undefined };
  }

  #takeLine(bytes: Buffer, at: number): number {
    const lf = bytes.indexOf(0x0a, at);
    const end = lf < 0 ? bytes.length : lf + 1;
    const limit = this.#state === 'trailer' ? maxTrailerBytes : this.#state === 'size' ? maxSizeLine : 2;
    if (this.#line.length + end - at > limit) {
      throw malformed(
        this.#state === 'data-end' ? 'a chunk is longer than its size' : 'a chunk line is too long',
      );
    }
    this.#line += bytes.toString('latin1', at, end);
    if (lf < 0) return end;
    if (!this.#line.endsWith('\r\n') || this.#line.indexOf('\r') !== this.#line.length - 2) {
      throw malformed('a chunk line does not end in CRLF');
    }
    const line = this.#line.slice(0, -2);
    this.#line = '';
    this.#onLine(line);
    return end;
  }

  #onLine(line: string): void {
    switch (this.#state) {
      case 'size': {
        const size = (this.#padded ? paddedSize : strictSize).exec(line)?.[1];
        if (size === undefined) throw malformed('a chunk size is not a hexadecimal number');
        this.#left = Number.parseInt(size, 16);
        this.#state = this.#left === 0 ? 'trailer' : 'data';
        return;
      }
      case 'data-end':
        if (line !== '') throw malformed('a chunk is longer than its size');
        this.#state = 'size';
        return;
      case 'trailer':
        this.#onTrailer(line);
        return;
      case 'data':
      case 'done':
        throw new TypeError('no line is expected here');
    }
  }

  #onTrailer(line: string): void {
    if (line === '') {
      this.trailers = parseFields(this.#trailerLines).list.filter(
        ([name]) => !notTrailers.has(name.toLowerCase()),
      );
      this.#state = 'done';
      return;
    }
    this.#trailerBytes += line.length;
    if (this.#trailerBytes > maxTrailerBytes) throw malformed('the trailers are too long', 'too-large', 431);
    this.#trailerLines.push(line);
  }
}

/** One chunk of these pieces, to be written in order. */
export function encodeChunk(pieces: readonly Buffer[], bytes: number): Buffer[] {
  const open = Buffer.from(`${bytes.toString(16)}\r\n`, 'latin1');
  const close = Buffer.from('\r\n', 'latin1');
  // A peer that sends one byte a chunk would make us hold an object a byte.
  return pieces.length > 8 || bytes < 4096
    ? [Buffer.concat([open, ...pieces, close])]
    : [open, ...pieces, close];
}

export function encodeLastChunk(trailers: readonly Field[]): Buffer {
  const lines = trailers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return Buffer.from(`0\r\n${lines}\r\n`, 'latin1');
}
