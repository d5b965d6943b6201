import { finished } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { type Artifact, damaged } from './artifact.ts';
import { TarWalk } from './artifact-tar.ts';

/**
 * The deep check of an artifact's assets: they decompress to their end, are a whole tar, and hold every file that the
 * manifest lists, with its size. Keeps no data, whatever the size.
 */
export class AssetsWalk implements AsyncDisposable {
  readonly #artifact: Artifact;
  readonly #decoder = createZstdDecompress({ chunkSize: 256 * 1024 });
  readonly #tar = new TarWalk();
  #failed: Error | undefined;

  constructor(artifact: Artifact) {
    this.#artifact = artifact;
    this.#decoder.on('error', (error) => {
      this.#failed ??= error;
    });
    this.#decoder.on('data', (chunk: Buffer) => {
      try {
        this.#tar.push(chunk);
      } catch (error) {
        this.#decoder.destroy(error as Error);
      }
    });
  }

  /** Settles when the bytes are used up; their buffer may be filled anew then. */
  async write(bytes: Buffer): Promise<void> {
    if (bytes.length === 0) return;
    // A decoder that fails calls back no write; it closes.
    await new Promise<void>((resolve) => {
      this.#decoder.once('close', resolve);
      this.#decoder.write(bytes, () => {
        this.#decoder.off('close', resolve);
        resolve();
      });
    });
    if (this.#failed !== undefined) throw this.#damage(this.#failed);
  }

  /** Call after the last byte. */
  async end(): Promise<void> {
    this.#decoder.end();
    await finished(this.#decoder).catch((error: Error) => {
      throw this.#damage(this.#failed ?? error);
    });
    // The decoder stops silently at the end of a frame; smolvm writes one, so it must have used up everything.
    if (this.#decoder.bytesWritten !== this.#artifact.assetsSize) {
      throw this.#damage(new Error('bytes follow the end of the compressed data'));
    }
    const files = this.#tar.end();
    if (files === undefined) throw this.#damage(new Error('the tar has no end'));
    const { agent_rootfs: rootfs, layers } = this.#artifact.manifest.assets;
    for (const { path, size } of rootfs === undefined ? layers : [rootfs, ...layers]) {
      if (files.get(path) !== size) {
        const found = files.get(path);
        const what = found === undefined ? 'is not there' : `has ${found} bytes`;
        throw this.#damage(new Error(`${path} of ${size} bytes ${what}`));
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#decoder.destroy();
  }

  #damage(cause: Error) {
    return damaged(this.#artifact.path, 'assets', cause.message, cause);
  }
}
