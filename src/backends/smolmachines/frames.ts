/**
 * The frames of a session: one byte that says what it is, four bytes of length, big-endian, and so many bytes. Towards
 * bottle-init (docs/bottle-init.md, sessions), and the same on the socket between a session's broker and its clients.
 */
export interface Frame {
  readonly type: FrameType;
  readonly payload: Buffer;
}

/**
 * | frame | from | meaning |
 * |---|---|---|
 * | `data` | client | bytes for the command's standard input |
 * | `end` | client | its end; with a terminal, the terminal's own character for it |
 * | `window` | client | two 16-bit numbers: rows, columns |
 * | `signal` | client | one byte: the number of a signal for the command's process group |
 * | `attach` | client, first | `start` or `join`; never to bottle-init |
 * | `query` | client, first | how the session stands; never to bottle-init |
 * | `kind` | broker | answers `attach`: `terminal` or `pipes` |
 * | `standing` | broker | answers `query`, in JSON |
 * | `output`, `error` | broker | bytes of the command's standard output, and error |
 * | `exit` | broker, last | one byte: the command's exit status |
 */
export const frameTypes = {
  data: 'd',
  end: 'e',
  window: 'w',
  signal: 's',
  attach: 'a',
  query: 'q',
  kind: 'k',
  standing: 'i',
  output: 'o',
  error: 'r',
  exit: 'x',
} as const;

export type FrameName = keyof typeof frameTypes;
type FrameType = (typeof frameTypes)[FrameName];

/** Bytes of a payload; bottle-init takes no more. */
export const maxPayload = 65_536;
const headerBytes = 5;
const known: ReadonlySet<string> = new Set(Object.values(frameTypes));

/** One frame. @throws RangeError for a payload that is too long */
export function frame(name: FrameName, payload: Uint8Array | string = ''): Buffer {
  const bytes = Buffer.from(payload);
  if (bytes.length > maxPayload) throw new RangeError(`a frame of ${bytes.length} bytes`);
  const header = Buffer.alloc(headerBytes);
  header.write(frameTypes[name], 'latin1');
  header.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([header, bytes]);
}

/** Any number of bytes, as frames that are short enough. */
export function framesOf(name: FrameName, bytes: Uint8Array): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += maxPayload) {
    frames.push(frame(name, bytes.subarray(at, at + maxPayload)));
  }
  return frames;
}

/** The size of a terminal; what is no size, as a terminal that knows none has it, is 0. */
export function windowFrame(rows: number, columns: number): Buffer {
  const payload = Buffer.alloc(4);
  const short = (value: number) => (Number.isInteger(value) && value > 0 ? Math.min(value, 0xffff) : 0);
  payload.writeUInt16BE(short(rows), 0);
  payload.writeUInt16BE(short(columns), 2);
  return frame('window', payload);
}

/** Takes frames out of a stream of bytes, in whatever pieces it comes. */
export class FrameReader {
  #pieces: Buffer[] = [];
  #size = 0;
  #isMalformed = false;

  /** Whether something came that is no frame: nothing after it can be read. */
  get isMalformed(): boolean {
    return this.#isMalformed;
  }

  /** The frames that these bytes complete. */
  push(bytes: Buffer): Frame[] {
    if (this.#isMalformed) return [];
    this.#pieces.push(bytes);
    this.#size += bytes.length;
    const frames: Frame[] = [];
    if (this.#size < headerBytes) return frames;
    let rest = this.#pieces.length === 1 ? bytes : Buffer.concat(this.#pieces);
    while (rest.length >= headerBytes) {
      const type = String.fromCharCode(rest[0] ?? 0);
      const length = rest.readUInt32BE(1);
      if (!isFrameType(type) || length > maxPayload) {
        this.#isMalformed = true;
        rest = Buffer.alloc(0);
        break;
      }
      if (rest.length < headerBytes + length) break;
      frames.push({ type, payload: rest.subarray(headerBytes, headerBytes + length) });
      rest = rest.subarray(headerBytes + length);
    }
    this.#pieces = rest.length === 0 ? [] : [rest];
    this.#size = rest.length;
    return frames;
  }
}

function isFrameType(type: string): type is FrameType {
  return known.has(type);
}
