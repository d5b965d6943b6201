const room = 1 << 20;

/**
 * Joins the bodies of several requests into one stream of bytes: `push` waits while the reader is more than about
 * 1 MiB behind. One reader; one writer at a time.
 */
export class Channel implements AsyncIterable<Uint8Array> {
  readonly #queue: Uint8Array[] = [];
  #bytes = 0;
  #ended = false;
  #error: unknown;
  #readerGone = false;
  #changed = Promise.withResolvers<void>();

  /** Whether the reader still takes bytes, told once there is room again. */
  async push(chunk: Uint8Array): Promise<boolean> {
    if (this.#closed) return false;
    this.#queue.push(chunk);
    this.#bytes += chunk.length;
    this.#signal();
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it changes while we wait
    while (this.#bytes > room && !this.#closed) await this.#changed.promise;
    return !this.#closed;
  }

  /** No more bytes; the reader sees the end after the last one. */
  end(): void {
    this.#ended = true;
    this.#signal();
  }

  /** The reader gets this error instead of what it has not read yet. */
  fail(error: unknown): void {
    this.#error ??= error;
    this.#signal();
  }

  get #closed(): boolean {
    return this.#readerGone || this.#error !== undefined;
  }

  #signal(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    resolve();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        if (this.#error !== undefined) throw this.#error;
        const chunk = this.#queue.shift();
        if (chunk !== undefined) {
          this.#bytes -= chunk.length;
          this.#signal();
          yield chunk;
        } else if (this.#ended) return;
        else await this.#changed.promise;
      }
    } finally {
      this.#readerGone = true;
      this.#queue.length = 0;
      this.#signal();
    }
  }
}
