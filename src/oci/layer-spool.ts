import type { FileHandle } from 'node:fs/promises';

const bufferSize = 1024 * 1024;
/** How much may be written before the disk is asked to catch up, in bytes. */
const syncEvery = 64 * 1024 * 1024;

/**
 * Writes a stream to a file through two buffers: one fills while the other is on its way. The disk is made to keep up in
 * the background, so that the sync at the end, without which a power cut could leave a hollow file, costs little.
 */
export class LayerSpool {
  readonly #file: FileHandle;
  #filling = Buffer.allocUnsafeSlow(bufferSize);
  #spare = Buffer.allocUnsafeSlow(bufferSize);
  #filled = 0;
  #position = 0;
  #writing: Promise<unknown> = Promise.resolve();
  #syncing: Promise<unknown> = Promise.resolve();
  #unsynced = 0;
  readonly #durable: boolean;

  /** @param options.durable false for a file that goes with the process, and need not reach the disk at all. */
  constructor(file: FileHandle, options: { readonly durable: boolean } = { durable: true }) {
    this.#file = file;
    this.#durable = options.durable;
  }

  /** Takes a copy of the chunk. */
  async write(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length;) {
      const taken = Math.min(chunk.length - at, bufferSize - this.#filled);
      chunk.copy(this.#filling, this.#filled, at, at + taken);
      this.#filled += taken;
      at += taken;
      if (this.#filled === bufferSize) await this.#flush();
    }
  }

  /** Writes what is left and waits until all of it is written, and on the disk if it is to be durable. */
  async end(): Promise<void> {
    await this.#flush();
    await this.#writing;
    await this.#syncing;
    if (this.#durable) await this.#file.datasync();
  }

  /** Waits until nothing is under way any more, whatever came of it. The file may be closed then. */
  async settle(): Promise<void> {
    await Promise.allSettled([this.#writing, this.#syncing]);
  }

  async #flush(): Promise<void> {
    await this.#writing;
    const full = this.#filling;
    const length = this.#filled;
    const position = this.#position;
    this.#filling = this.#spare;
    this.#spare = full;
    this.#filled = 0;
    this.#position += length;
    this.#writing = this.#writeAll(full, length, position);
    this.#writing.catch(() => undefined);
    this.#unsynced += length;
    if (!this.#durable || this.#unsynced < syncEvery) return;
    this.#unsynced = 0;
    await this.#syncing;
    this.#syncing = this.#file.datasync();
    this.#syncing.catch(() => undefined);
  }

  async #writeAll(bytes: Buffer, length: number, position: number): Promise<void> {
    for (let done = 0; done < length;) {
      const { bytesWritten } = await this.#file.write(bytes, done, length - done, position + done);
      done += bytesWritten;
    }
  }
}
