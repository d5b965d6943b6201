import { createHash } from 'node:crypto';
import { type FileHandle, readFile, writeFile } from 'node:fs/promises';
import type { Digest } from './digest.ts';
import { LayerDamaged } from './errors.ts';
import { sealOf } from './layer-seal.ts';
import { TarIndex } from './tar-index.ts';
import { TarIndexer } from './tar-indexer.ts';

const windowSize = 1024 * 1024;

export interface VerifyLayerOptions {
  readonly see?: (piece: Buffer) => void;
  readonly signal?: AbortSignal;
}

/** A plain layer tar, open for reading. It holds a file descriptor, so that a prune meanwhile does not hurt it. */
export class OpenLayer implements AsyncDisposable {
  readonly diffId: Digest;
  /** Bytes. */
  readonly size: number;
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #indexPath: string;

  constructor(file: FileHandle, facts: { diffId: Digest; size: number; path: string; indexPath: string }) {
    this.#file = file;
    this.diffId = facts.diffId;
    this.size = facts.size;
    this.#path = facts.path;
    this.#indexPath = facts.indexPath;
  }

  /**
   * Where each entry lies. Comes from the file beside the layer; one that is missing or damaged is made anew, which
   * also verifies the layer.
   * @throws LayerDamaged, or the reason of `signal`.
   */
  async index(signal?: AbortSignal): Promise<TarIndex> {
    const stored = await readFile(this.#indexPath).catch(() => undefined);
    const index = stored === undefined ? undefined : TarIndex.decode(stored);
    if (index === undefined) return this.#rebuildIndex(signal);
    if (index.archiveSize !== this.size) {
      throw this.#damaged(`${this.size} bytes long instead of ${index.archiveSize}`);
    }
    return index;
  }

  /**
   * Fills `target` with the bytes at `position`.
   * @throws LayerDamaged when the file ends before that.
   */
  async readInto(target: Buffer, position: number): Promise<void> {
    for (let done = 0; done < target.length;) {
      const { bytesRead } = await this.#file.read(target, done, target.length - done, position + done);
      if (bytesRead === 0) throw this.#damaged('shorter than it was');
      done += bytesRead;
    }
  }

  /**
   * Reads the whole layer and compares it with its diff id, showing each piece to `see`.
   * @throws LayerDamaged, or the reason of `signal`.
   */
  async verify({ see, signal }: VerifyLayerOptions = {}): Promise<void> {
    const hash = createHash('sha256');
    const window = Buffer.allocUnsafeSlow(Math.min(windowSize, this.size));
    for (let at = 0; at < this.size; at += window.length) {
      signal?.throwIfAborted();
      const piece = window.subarray(0, Math.min(window.length, this.size - at));
      await this.readInto(piece, at);
      hash.update(piece);
      see?.(piece);
    }
    if (`sha256:${hash.digest('hex')}` !== this.diffId) throw this.#damaged('its content changed');
  }

  /** The seal of the file as it is now; see `sealOf`. */
  async seal(): Promise<string> {
    return sealOf(await this.#file.stat({ bigint: true }));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#file.close();
  }

  async #rebuildIndex(signal: AbortSignal | undefined): Promise<TarIndex> {
    const indexer = new TarIndexer();
    let malformed: unknown;
    const see = (piece: Buffer) => {
      try {
        if (malformed === undefined) indexer.write(piece);
      } catch (error) {
        malformed = error;
      }
    };
    await this.verify({ see, ...(signal === undefined ? {} : { signal }) });
    if (malformed !== undefined) throw malformed;
    const index = indexer.end({ vouched: true });
    await writeIndex(this.#indexPath, index);
    return index;
  }

  #damaged(reason: string): LayerDamaged {
    return new LayerDamaged({ diffId: this.diffId, path: this.#path, reason });
  }
}

/** Not atomic and not synced on purpose: an index proves itself, and half of one counts as none. */
export async function writeIndex(path: string, index: TarIndex): Promise<void> {
  await writeFile(path, index.encode(), { mode: 0o600 });
}
