const block = 512;

/**
 * Walks a tar as it streams by and remembers each file's name and size. It knows what Rust's tar crate writes: ustar
 * headers, GNU long names, and GNU sparse files (tar(5), "GNU tar archives" and "old GNU sparse"), whose stored and
 * real sizes differ.
 */
export class TarWalk {
  readonly #files = new Map<string, number>();
  readonly #header = Buffer.alloc(block);
  #filled = 0;
  /** Bytes of data and padding still to pass. */
  #skip = 0;
  /** Collects a GNU long name, which is the data of its own entry. */
  #longName: { text: Buffer; filled: number } | undefined;
  #nextName: string | undefined;
  #pendingData = 0;
  #inSparseMap = false;
  #zeroBlocks = 0;
  #offset = 0;

  /** @throws Error when a header is none. */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      const rest = chunk.length - at;
      if (this.#skip > 0) {
        const used = Math.min(this.#skip, rest);
        this.#collect(chunk.subarray(at, at + used));
        this.#skip -= used;
        at += used;
        continue;
      }
      const used = Math.min(block - this.#filled, rest);
      chunk.copy(this.#header, this.#filled, at, at + used);
      this.#filled += used;
      at += used;
      if (this.#filled < block) return;
      this.#filled = 0;
      this.#block();
      this.#offset += block;
    }
  }

  /** Every file's size by name, or `undefined` when the tar does not end as one: two blocks of zeros. */
  end(): ReadonlyMap<string, number> | undefined {
    const whole = this.#zeroBlocks >= 2 && this.#filled === 0 && this.#skip === 0;
    return whole ? this.#files : undefined;
  }

  #collect(bytes: Buffer): void {
    this.#offset += bytes.length;
    const name = this.#longName;
    if (name === undefined) return;
    name.filled += bytes.copy(name.text, name.filled, 0, name.text.length - name.filled);
    if (name.filled < name.text.length) return;
    this.#nextName = cString(name.text);
    this.#longName = undefined;
  }

  #block(): void {
    const header = this.#header;
    if (this.#inSparseMap) {
      // A map that does not fit the header goes on in whole blocks; byte 504 tells of another one.
      this.#inSparseMap = header[504] !== 0;
      if (!this.#inSparseMap) this.#skip = padded(this.#pendingData);
      return;
    }
    if (header.every((byte) => byte === 0)) {
      this.#zeroBlocks += 1;
      return;
    }
    if (this.#zeroBlocks > 0) throw new Error(`data after the end of the tar at ${this.#offset}`);
    if (!hasGoodChecksum(header)) throw new Error(`no tar header at ${this.#offset}`);
    const size = numberAt(header, 124);
    const type = String.fromCharCode(header[156] ?? 0);
    if (type === 'L') {
      if (size > 65_536) throw new Error(`a name of ${size} bytes at ${this.#offset}`);
      this.#longName = { text: Buffer.alloc(size), filled: 0 };
    } else if (type !== 'K' && type !== 'x' && type !== 'g') {
      const name = this.#nextName ?? cString(header.subarray(0, 100));
      this.#nextName = undefined;
      if (type === '0' || type === '\0') this.#files.set(name, size);
      if (type === 'S') this.#files.set(name, numberAt(header, 483));
    }
    if (type === 'S' && header[482] !== 0) {
      this.#inSparseMap = true;
      this.#pendingData = size;
    } else {
      this.#skip = padded(size);
    }
  }
}

function padded(size: number): number {
  return Math.ceil(size / block) * block;
}

function cString(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end === -1 ? bytes.length : end);
}

/** A 12-byte number: octal text, or big-endian binary when the top bit is set. */
function numberAt(header: Buffer, at: number): number {
  const field = header.subarray(at, at + 12);
  if (((field[0] ?? 0) & 0x80) === 0) {
    const text = cString(field).trim();
    const value = text === '' ? 0 : Number.parseInt(text, 8);
    if (!/^[0-7]*$/.test(text)) throw new Error(`the size ${JSON.stringify(text)} is no octal number`);
    return value;
  }
  const value = Number(field.readBigUInt64BE(4));
  if (!Number.isSafeInteger(value)) throw new Error('a size that no file can have');
  return value;
}

/** The sum of all bytes with the checksum's own eight taken as spaces (ustar). */
function hasGoodChecksum(header: Buffer): boolean {
  let sum = 0;
  for (let at = 0; at < block; at += 1) sum += at >= 148 && at < 156 ? 0x20 : (header[at] ?? 0);
  return Number.parseInt(cString(header.subarray(148, 156)).trim(), 8) === sum;
}
