/**
 * Reads a stream of chunks by counts of bytes and by lines. Holds one chunk, and what `take` was asked for. Reading starts
 * at once.
 */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #ahead: Promise<IteratorResult<Uint8Array>> | undefined;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
    this.#ahead = this.#source.next();
    this.#ahead.catch(() => undefined);
  }

  /** Exactly `size` bytes, or fewer when the stream ends before. The buffer is the caller's to keep. */
  async take(size: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of this.body(size)) parts.push(part);
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
  }

  /** The next `size` bytes as they come; fewer when the stream ends before. */
  async *body(size: number): AsyncGenerator<Buffer, void, void> {
    let left = size;
    while (left > 0 && (await this.#fill())) {
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }

  /** @returns how many bytes there were to skip, at most `size`. */
  async skip(size: number): Promise<number> {
    let skipped = 0;
    for await (const part of this.body(size)) skipped += part.length;
    return skipped;
  }

  /**
   * The next line without its line feed, one character a byte; `undefined` at the end of the stream, and for a line of
   * more than `limit` bytes.
   */
  async line(limit: number): Promise<string | undefined> {
    let text = '';
    while (await this.#fill()) {
      const end = this.#rest.indexOf(0x0a);
      const part = end === -1 ? this.#rest : this.#rest.subarray(0, end);
      text += part.toString('latin1');
      this.#rest = this.#rest.subarray(part.length + (end === -1 ? 0 : 1));
      if (text.length > limit) return undefined;
      if (end !== -1) return text;
    }
    return undefined;
  }

  async #fill(): Promise<boolean> {
    while (this.#rest.length === 0) {
      const next = await (this.#ahead ?? this.#source.next());
      this.#ahead = undefined;
      if (next.done === true) return false;
      this.#rest = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    }
    return true;
  }
}
