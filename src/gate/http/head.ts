import { malformed } from '../refusal.ts';

/** One field, as it came; the value without the white space around it. */
export type Field = readonly [name: string, value: string];

/** Header or trailer fields in their order. Bytes above 0x7f are latin1 characters, so they leave as they came. */
export class Fields {
  readonly list: readonly Field[];

  constructor(list: readonly Field[]) {
    this.list = list;
  }

  /** Every value of a field, by its lower-case name. */
  all(name: string): string[] {
    return this.list
      .filter(([key]) => key.length === name.length && key.toLowerCase() === name)
      .map(([, v]) => v);
  }

  /** The members of a comma-separated list field, in lower case. */
  tokens(name: string): string[] {
    return this.all(name).flatMap((value) =>
      value.split(',').flatMap((token) => (token.trim() === '' ? [] : [token.trim().toLowerCase()])),
    );
  }
}

export interface RequestHead {
  readonly method: string;
  readonly target: string;
  readonly minor: 0 | 1;
  readonly fields: Fields;
}

export interface ResponseHead {
  readonly status: number;
  readonly phrase: string;
  readonly minor: 0 | 1;
  readonly fields: Fields;
}

export const maxHeadBytes = 64 << 10;
const maxFields = 256;

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

const fieldValue = /^[\t\x20-\x7e\x80-\xff]*$/;

/**
 * Where the head at the start of `bytes` ends, the empty line included; `undefined` if more must be read. A line may
 * only end in CRLF (RFC 9112 §2.2 would let a lone LF pass, and that is where two readers part).
 * @param from bytes before this offset were looked at already.
 * @throws Refusal
 */
export function headEnd(bytes: Buffer, from: number): number | undefined {
  for (let lf = bytes.indexOf(0x0a, from); lf >= 0; lf = bytes.indexOf(0x0a, lf + 1)) {
    if (bytes[lf - 1] !== 0x0d) throw malformed('a line ends in LF without CR');
    if (lf >= 3 && bytes[lf - 2] === 0x0a) return lf + 1;
  }
  return undefined;
}

/** Reads a request head, CRLF CRLF included. @throws Refusal */
export function parseRequestHead(bytes: Buffer): RequestHead {
  const [first = '', ...lines] = splitLines(bytes);
  const match = /^([^ ]+) ([^ ]+) HTTP\/1\.([01])$/.exec(first);
  if (match === null) throw malformed('the request line is not "METHOD target HTTP/1.1"');
  const [, method = '', target = '', minor] = match;
  if (!token.test(method) || method.length > 32) throw malformed('the method is not a token');
  if (!/^[\x21-\x7e]+$/.test(target)) throw malformed('the target has characters outside ASCII');
  return { method, target, minor: minor === '0' ? 0 : 1, fields: parseFields(lines) };
}

/** Reads a response head, CRLF CRLF included. @throws Refusal */
export function parseResponseHead(bytes: Buffer): ResponseHead {
  const [first = '', ...lines] = splitLines(bytes);
  const match = /^HTTP\/1\.([01]) ([1-5][0-9]{2})(?: (.*))?$/.exec(first);
  if (match === null) throw malformed('the status line is not HTTP/1.1');
  const [, minor, status, phrase = ''] = match;
  if (!fieldValue.test(phrase)) throw malformed('the status line has control characters');
  return { status: Number(status), phrase, minor: minor === '0' ? 0 : 1, fields: parseFields(lines) };
}

/** Reads field lines. @throws Refusal */
export function parseFields(lines: readonly string[]): Fields {
  if (lines.length > maxFields) throw malformed(`there are more than ${maxFields} fields`, 'too-large', 431);
  return new Fields(
    lines.map((line): Field => {
      const colon = line.indexOf(':');
      const name = line.slice(0, Math.max(colon, 0));
      // The token rule also refuses folded lines, and white space before the colon.
      if (!token.test(name)) throw malformed('a field name is not a token directly before its colon');
      const value = line.slice(colon + 1).replace(/^[\t ]+|[\t ]+$/g, '');
      if (!fieldValue.test(value)) throw malformed('a field value has control characters');
      return [name, value];
    }),
  );
}

/** The text of a head, to be sent as latin1. */
export function formatHead(first: string, fields: readonly Field[]): string {
  let text = `${first}\r\n`;
  for (const [name, value] of fields) text += `${name}: ${value}\r\n`;
  return `${text}\r\n`;
}

function splitLines(bytes: Buffer): string[] {
  // RFC 9112 §2.2: old clients send an empty line after a body.
  const start = bytes[0] === 0x0d && bytes[1] === 0x0a ? 2 : 0;
  const lines = bytes.toString('latin1', start, bytes.length - 4).split('\r\n');
  if (lines.some((line) => line.includes('\r'))) throw malformed('a CR stands alone');
  return lines;
}

const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/** What a `Connection` field may not take away, or a request would reach the host as another one. */
const notConnections = new Set(['host', 'content-length', 'transfer-encoding', 'authorization', 'cookie']);

/**
 * The fields that go on to the next hop (RFC 9110 §7.6.1): without those of this connection, listed ones included.
 * @throws Refusal if the list names a field that the message hangs on.
 */
export function endToEnd(fields: Fields): Field[] {
  const listed = fields.tokens('connection');
  const stolen = listed.find((name) => notConnections.has(name));
  if (stolen !== undefined) throw malformed(`Connection lists ${stolen}`);
  const gone = new Set(listed);
  return fields.list.filter(([name]) => {
    const key = name.toLowerCase();
    return !hopByHop.has(key) && !gone.has(key);
  });
}
