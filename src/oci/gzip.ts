import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { constants, crc32, deflateRaw } from 'node:zlib';
import type { Blob } from './image.ts';
import { type ByteSource, SegmentListBuilder } from './segments.ts';

const deflate = promisify(deflateRaw);

/** Input bytes compressed at a time, each by itself. Part of what fixes the output: another size, other bytes. */
const blockSize = 512 * 1024;
/** Fits any compressed block, so that each comes in one piece (RFC 1951 §3.2.4: five bytes more per 64 KiB). */
const compressedSize = blockSize + 16 * 1024;
/** Blocks compressed at once; Node's thread pool has four threads. */
const atOnce = 4;

/** RFC 1952 §2.3: deflate, no flags, no time, fastest algorithm, unknown system: nothing that varies. */
const head = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
/** Every block ends on a byte, so that they can be joined. */
const settings = { level: 1, finishFlush: constants.Z_SYNC_FLUSH, chunkSize: compressedSize };

/** An empty last block (RFC 1951 §3.2.6), since no block before it knows that it is the last. */
const lastBlock = Buffer.from([3, 0]);

export interface GzipOptions {
  /** A directory for the compressed file, which goes when the result is disposed. */
  readonly scratch: string;
  readonly signal?: AbortSignal;
}

/**
 * Compresses a blob into a file, on several cores. The output is one gzip member, because some readers stop after the
 * first, and depends on the input alone.
 */
export async function gzip(source: Blob, options: GzipOptions): Promise<Blob & AsyncDisposable> {
  const path = join(options.scratch, `layer-${randomBytes(8).toString('hex')}.tar.gz`);
  const file = await open(path, 'wx+', 0o600);
  const discard = async () => {
    await file.close();
    await rm(path, { force: true });
  };
  try {
    const output = new HashedFile(file);
    await compress(source, output, options.signal);
    const list = new SegmentListBuilder();
    list.range(0, 0, output.size);
    const bytes = list.build([output]);
    return {
      digest: `sha256:${output.digest()}`,
      size: bytes.size,
      read: (start, end) => bytes.read(start, end),
      [Symbol.asyncDispose]: discard,
    };
  } catch (error) {
    await discard();
    throw error;
  }
}

async function compress(source: Blob, output: HashedFile, signal: AbortSignal | undefined): Promise<void> {
  let checksum = 0;
  let blocks = 0;
  const buffers = Array.from({ length: atOnce + 1 }, () => Buffer.allocUnsafeSlow(blockSize));
  const running: Promise<Buffer>[] = [];
  await output.append(head);
  try {
    // Each buffer is free again by the time its turn comes: all but the last `atOnce` blocks are done by then.
    for await (const block of blocksOf(source, () => buffers[blocks++ % buffers.length] ?? Buffer.alloc(0))) {
      signal?.throwIfAborted();
      checksum = crc32(block, checksum);
      const compressed = deflate(block, settings);
      // Awaited below, in order; a failure must not count as unhandled until then.
      compressed.catch(() => undefined);
      running.push(compressed);
      if (running.length === atOnce) await output.append((await running.shift()) ?? Buffer.alloc(0));
    }
    for (const compressed of running) await output.append(await compressed);
  } finally {
    await Promise.allSettled(running);
  }
  const tail = Buffer.alloc(8);
  tail.writeUInt32LE(checksum, 0);
  tail.writeUInt32LE(source.size % 2 ** 32, 4);
  await output.append(Buffer.concat([lastBlock, tail]));
}

/** The source in blocks, each in a buffer that `next` gives. */
async function* blocksOf(source: Blob, next: () => Buffer): AsyncGenerator<Buffer> {
  let block = next();
  let filled = 0;
  for await (const chunk of source.read(0, source.size)) {
    for (let at = 0; at < chunk.length;) {
      const taken = Math.min(chunk.length - at, block.length - filled);
      chunk.copy(block, filled, at, at + taken);
      filled += taken;
      at += taken;
      if (filled < block.length) continue;
      yield block;
      block = next();
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

class HashedFile implements ByteSource {
  size = 0;
  readonly #file: FileHandle;
  readonly #hash = createHash('sha256');

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async append(bytes: Buffer): Promise<void> {
    this.#hash.update(bytes);
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, this.size + done);
      done += bytesWritten;
    }
    this.size += bytes.length;
  }

  async readInto(target: Buffer, position: number): Promise<void> {
    for (let done = 0; done < target.length;) {
      const { bytesRead } = await this.#file.read(target, done, target.length - done, position + done);
      if (bytesRead === 0) throw new RangeError(`compressed layer ends at ${position + done}`);
      done += bytesRead;
    }
  }

  digest(): string {
    return this.#hash.digest('hex');
  }
}
