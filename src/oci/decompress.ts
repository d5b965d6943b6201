import { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { LayerInflates, LayerUndecodable } from './errors.ts';
import { opensZstdFrame, ZstdFrames } from './zstd-frames.ts';

export type Compression = 'none' | 'gzip' | 'zstd';

const mib = 1024 * 1024;

/** The most bytes that `received` compressed bytes may unpack to: 100 times as many, but a GiB is always fine. */
export function inflationLimit(received: number): number {
  return Math.max(1024 * mib, 100 * received);
}

/** How a layer is compressed, told from its first bytes (RFC 1952 §2.3.1; RFC 8878 §3.1). */
export function sniffCompression(head: Buffer): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  if (head.length < 4) return 'none';
  return opensZstdFrame(head.readUInt32LE(0)) ? 'zstd' : 'none';
}

/** Tells how a stream is compressed, and gives it back whole. */
export async function openCompressed(
  source: AsyncIterable<Buffer>,
): Promise<{ format: Compression; bytes: AsyncIterable<Buffer> }> {
  const iterator = source[Symbol.asyncIterator]();
  let head: Buffer = Buffer.alloc(0);
  while (head.length < 4) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  async function* whole(): AsyncGenerator<Buffer> {
    try {
      if (head.length > 0) yield head;
      for (;;) {
        const next = await iterator.next();
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return { format: sniffCompression(head), bytes: whole() };
}

/**
 * Unpacks gzip (of any number of members) or zstd (of any number of frames), off the main thread.
 * @throws LayerUndecodable, LayerInflates, and whatever `bytes` throws.
 */
export async function* decompress(
  bytes: AsyncIterable<Buffer>,
  format: 'gzip' | 'zstd',
): AsyncGenerator<Buffer> {
  let received = 0;
  let unpacked = 0;
  let broken: unknown;
  const frames = format === 'zstd' ? new ZstdFrames() : undefined;
  async function* counted(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of bytes) {
        received += chunk.length;
        // Copied, since the decoder may hold on to what it is given while the source is asked for more.
        if (frames === undefined) yield Buffer.from(chunk);
        else for (const piece of frames.split(chunk)) yield Buffer.from(piece);
      }
      frames?.end();
    } catch (error) {
      broken = error;
      throw error;
    }
  }
  // In object mode no two pieces are ever joined, which for zstd they must not be.
  const input = Readable.from(counted(), { objectMode: true, highWaterMark: 8 });
  const decoder =
    format === 'gzip' ? createGunzip({ chunkSize: mib / 4 }) : createZstdDecompress({ chunkSize: mib / 4 });
  input.once('error', (error) => decoder.destroy(error));
  input.pipe(decoder);
  try {
    for await (const chunk of decoder as AsyncIterable<Buffer>) {
      unpacked += chunk.length;
      const limit = inflationLimit(received);
      if (unpacked > limit) throw new LayerInflates({ received, limit });
      yield chunk;
    }
  } catch (error) {
    if (broken !== undefined) throw broken;
    if (error instanceof LayerInflates || !isDecoderError(error)) throw error;
    throw new LayerUndecodable({ format, reason: (error as Error).message }, { cause: error });
  } finally {
    input.destroy();
    decoder.destroy();
  }
}

function isDecoderError(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code !== undefined && /^(Z_|ZSTD_|ERR_ZLIB|ERR_ZSTD)/.test(code);
}
