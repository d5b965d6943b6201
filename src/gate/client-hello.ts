/**
 * What the first bytes of a tunnel are. `names`: the host_name entries of the server_name extension, latin1.
 * `more`: not decided yet.
 */
export type Greeting =
  | { readonly kind: 'tls'; readonly names: readonly string[] }
  | { readonly kind: 'broken-tls' }
  | { readonly kind: 'other' }
  | { readonly kind: 'more' };

/** A ClientHello with every post-quantum key share stays far below this. */
export const maxGreetingBytes = 64 << 10;

/**
 * Reads a TLS ClientHello (RFC 8446 §4.1.2, §5.1; RFC 6066 §3), in however many records it comes. An SSL 2 hello is no
 * TLS.
 */
export function readGreeting(bytes: Buffer): Greeting {
  const [type, major] = bytes;
  if (type !== undefined && type !== 0x16) return { kind: 'other' };
  if (major !== undefined && major !== 0x03) return { kind: 'other' };
  if (bytes.length > maxGreetingBytes) return { kind: 'broken-tls' };
  const fragments: Buffer[] = [];
  let at = 0;
  let need = 4;
  let have = 0;
  while (have < need) {
    if (bytes.length < at + 5) return { kind: 'more' };
    const length = bytes.readUInt16BE(at + 3);
    if (bytes[at] !== 0x16 || bytes[at + 1] !== 0x03 || length === 0 || length > 1 << 14)
      return { kind: 'broken-tls' };
    if (bytes.length < at + 5 + length) return { kind: 'more' };
    fragments.push(bytes.subarray(at + 5, at + 5 + length));
    have += length;
    at += 5 + length;
    if (have >= 4) {
      const start = fragments.length === 1 ? fragments[0] : Buffer.concat(fragments);
      if (start?.[0] !== 0x01) return { kind: 'broken-tls' };
      need = 4 + start.readUIntBE(1, 3);
      if (need > maxGreetingBytes) return { kind: 'broken-tls' };
    }
  }
  const names = serverNames(Buffer.concat(fragments).subarray(4, need));
  return names === undefined ? { kind: 'broken-tls' } : { kind: 'tls', names };
}

/** @returns `undefined` if the hello does not add up. */
function serverNames(hello: Buffer): string[] | undefined {
  const body = new Cursor(hello);
  body.take(2 + 32);
  body.vector(1);
  body.vector(2);
  body.vector(1);
  const extensions = body.atEnd ? new Cursor(Buffer.alloc(0)) : body.vector(2);
  if (!body.atEnd) return undefined;
  const names: string[] = [];
  let seen = 0;
  while (!extensions.atEnd && !extensions.failed) {
    const type = extensions.number(2);
    const extension = extensions.vector(2);
    if (type !== 0) continue;
    seen += 1;
    const list = extension.vector(2);
    while (!list.atEnd && !list.failed) {
      const kind = list.number(1);
      const name = list.vector(2);
      if (kind === 0) names.push(name.bytes.toString('latin1'));
    }
    if (list.failed || !extension.atEnd || extension.failed) return undefined;
  }
  return body.failed || extensions.failed || seen > 1 ? undefined : names;
}

/** Reads length-prefixed vectors; a read past the end fails the cursor for good. */
class Cursor {
  readonly bytes: Buffer;
  failed = false;
  #at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.bytes.length;
  }

  take(length: number): Buffer {
    if (this.#at + length > this.bytes.length) {
      this.failed = true;
      this.#at = this.bytes.length;
      return Buffer.alloc(0);
    }
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }

  number(size: 1 | 2): number {
    const bytes = this.take(size);
    return bytes.length === size ? bytes.readUIntBE(0, size) : 0;
  }

  vector(size: 1 | 2): Cursor {
    return new Cursor(this.take(this.number(size)));
  }
}

/** A fatal TLS alert, access_denied (RFC 8446 §6.2): all that a TLS client understands at this point. */
export const accessDeniedAlert = Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 49]);
