import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { count, fit } from '../schema.ts';
import { decompress, openCompressed } from './decompress.ts';
import { Digest, hexOf, isDigest } from './digest.ts';
import { DigestMismatch, LayerDamaged, LayerMissing, SizeMismatch } from './errors.ts';
import { OpenLayer, writeIndex } from './layer.ts';
import { sealOf } from './layer-seal.ts';
import { LayerSpool } from './layer-spool.ts';
import type { TarIndex } from './tar-index.ts';
import { TarIndexer } from './tar-indexer.ts';

/** A layer that has arrived, verified and published. */
export interface IngestedLayer {
  /** Digest of the plain tar. */
  readonly diffId: Digest;
  /** Bytes of the plain tar. */
  readonly size: number;
  /** What came in, which is the same unless it was compressed. */
  readonly received: { readonly digest: Digest; readonly size: number };
}

export interface IngestOptions {
  /** A directory on the store's file system, for the file while it is incomplete. */
  readonly scratch: string;
  readonly expect?: {
    readonly diffId?: Digest;
    /** Of the bytes as received. */
    readonly digest?: Digest;
    /** Of the bytes as received. */
    readonly size?: number;
  };
  readonly signal?: AbortSignal;
}

export interface StoredLayer {
  readonly diffId: Digest;
  /** On disk, with what belongs to it. */
  readonly bytes: number;
  readonly modified: Date;
}

const Received = v.object({ diffId: Digest, size: count });

/**
 * The layers of all images, plain, under the digest of their content: `<hex>.tar`, beside it `<hex>.index` (what is
 * where in it) and `<hex>.seal` (what its file looked like when its content was last known to be right), and
 * `received/<hex>` for each compressed form in which one came, so that the same blob need not come again. Safe to share
 * between processes: a layer appears whole or not at all, and equal content replaces equal content.
 *
 * A layer whose file was touched since is read in full before it is used or said to be here; one whose content changed
 * is thrown away, so that it comes anew.
 */
export class LayerStore {
  readonly #root: string;
  readonly #durable: boolean;

  /** @param options.durable false for a store that goes with the process: nothing of it need reach the disk. */
  constructor(root: string, options: { readonly durable: boolean } = { durable: true }) {
    this.#root = root;
    this.#durable = options.durable;
  }

  /** @throws the reason of `signal`. */
  async has(diffId: Digest, signal?: AbortSignal): Promise<boolean> {
    return (await this.#usableSize(diffId, signal)) !== undefined;
  }

  /**
   * Takes a layer from a stream: gzip, zstd or plain, told by its first bytes. Verifies and indexes it as it passes and
   * publishes it durably under its diff id. On any failure nothing of it stays. A chunk may be reused by the source once
   * the next one is asked for.
   * @throws DigestMismatch, SizeMismatch, LayerInflates, LayerUndecodable, TarMalformed, TarUnsupported, PathEscapes,
   *   the reason of `signal`, and whatever `source` throws.
   */
  async ingest(source: AsyncIterable<Uint8Array>, options: IngestOptions): Promise<IngestedLayer> {
    await mkdir(this.#receivedRoot, { recursive: true, mode: 0o700 });
    const temporary = join(options.scratch, `layer-${randomBytes(8).toString('hex')}.tar`);
    try {
      await using file = await open(temporary, 'wx', 0o600);
      const { layer, index } = await spool(source, new LayerSpool(file, { durable: this.#durable }), options);
      await writeIndex(this.#indexPath(layer.diffId), index);
      await rename(temporary, this.#tarPath(layer.diffId));
      if (this.#durable) await syncDirectory(this.#root);
      // Of the file that was written, whoever may have put another in its place meanwhile. Renaming changed its times.
      await this.#keepSeal(layer.diffId, sealOf(await file.stat({ bigint: true })));
      if (layer.received.digest !== layer.diffId) await this.#remember(layer);
      return layer;
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  /**
   * The layer that a blob with this digest, compressed or plain, turned out to hold when it came; only while that layer
   * is still here. `size` is that of the blob.
   * @throws the reason of `signal`.
   */
  async receivedAs(
    digest: Digest,
    signal?: AbortSignal,
  ): Promise<{ diffId: Digest; size: number } | undefined> {
    const plain = await this.#usableSize(digest, signal);
    if (plain !== undefined) return { diffId: digest, size: plain };
    const record = await this.#readRecord(hexOf(digest));
    return record !== undefined && (await this.has(record.diffId, signal)) ? record : undefined;
  }

  /**
   * Opens a layer whose content is right, as far as its file shows.
   * @throws LayerMissing; LayerDamaged, and then the layer is gone; or the reason of `signal`.
   */
  async open(diffId: Digest, signal?: AbortSignal): Promise<OpenLayer> {
    await using resources = new AsyncDisposableStack();
    const layer = resources.use(await this.#open(diffId));
    const seal = await readFile(this.#sealPath(diffId), 'utf8').catch(undefinedIfMissing);
    if (seal !== (await layer.seal())) {
      try {
        await this.#verify(layer, signal);
      } catch (error) {
        if (error instanceof LayerDamaged) await this.#discard(layer);
        throw error;
      }
    }
    resources.move();
    return layer;
  }

  async #open(diffId: Digest): Promise<OpenLayer> {
    const path = this.#tarPath(diffId);
    const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'ENOENT' ? new LayerMissing({ diffId }) : error;
    });
    try {
      const { size } = await file.stat();
      return new OpenLayer(file, { diffId, size, path, indexPath: this.#indexPath(diffId) });
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async list(): Promise<StoredLayer[]> {
    const layers: StoredLayer[] = [];
    for (const name of await readdir(this.#root).catch(emptyIfMissing)) {
      const diffId = name.endsWith('.tar') ? `sha256:${name.slice(0, -'.tar'.length)}` : '';
      if (!isDigest(diffId)) continue;
      const [tar, index] = await Promise.all([this.#statOf(name), this.#statOf(`${hexOf(diffId)}.index`)]);
      if (tar === undefined) continue;
      layers.push({ diffId, bytes: tar.size + (index?.size ?? 0), modified: tar.mtime });
    }
    return layers;
  }

  /** Removes a layer and what was remembered about it. Nothing to remove is fine; whoever has it open keeps it. */
  async remove(diffId: Digest): Promise<void> {
    await rm(this.#tarPath(diffId), { force: true });
    await rm(this.#indexPath(diffId), { force: true });
    await rm(this.#sealPath(diffId), { force: true });
    for (const name of await readdir(this.#receivedRoot).catch(emptyIfMissing)) {
      const record = await this.#readRecord(name);
      if (record === undefined || record.diffId === diffId) {
        await rm(join(this.#receivedRoot, name), { force: true });
      }
    }
  }

  /**
   * Reads the whole layer and compares it with its digest. A damaged one stays, but is used no more.
   * @throws LayerMissing, or the reason of `signal`.
   */
  async verify(diffId: Digest, signal?: AbortSignal): Promise<'ok' | 'damaged'> {
    await using layer = await this.#open(diffId);
    try {
      await this.#verify(layer, signal);
      return 'ok';
    } catch (error) {
      if (error instanceof LayerDamaged) return 'damaged';
      throw error;
    }
  }

  /** Reads it all. From then on its file is taken for right as it was before, or for nothing. */
  async #verify(layer: OpenLayer, signal: AbortSignal | undefined): Promise<void> {
    const seal = await layer.seal();
    try {
      await layer.verify(signal === undefined ? {} : { signal });
    } catch (error) {
      if (error instanceof LayerDamaged) await rm(this.#sealPath(layer.diffId), { force: true });
      throw error;
    }
    await this.#keepSeal(layer.diffId, seal);
  }

  /** Removes a layer that turned out to be damaged, unless another has taken its place. */
  async #discard(layer: OpenLayer): Promise<void> {
    const there = await stat(this.#tarPath(layer.diffId), { bigint: true }).catch(undefinedIfMissing);
    if (there !== undefined && sealOf(there) === (await layer.seal())) await this.remove(layer.diffId);
  }

  /** Like the index, a seal may be written in place: half of one fits no file. */
  async #keepSeal(diffId: Digest, seal: string): Promise<void> {
    await writeFile(this.#sealPath(diffId), seal, { mode: 0o600 });
  }

  get #receivedRoot(): string {
    return join(this.#root, 'received');
  }

  #tarPath(diffId: Digest): string {
    return join(this.#root, `${hexOf(diffId)}.tar`);
  }

  #indexPath(diffId: Digest): string {
    return join(this.#root, `${hexOf(diffId)}.index`);
  }

  #sealPath(diffId: Digest): string {
    return join(this.#root, `${hexOf(diffId)}.seal`);
  }

  async #usableSize(diffId: Digest, signal: AbortSignal | undefined): Promise<number | undefined> {
    try {
      await using layer = await this.open(diffId, signal);
      return layer.size;
    } catch (error) {
      if (error instanceof LayerMissing || error instanceof LayerDamaged) return undefined;
      throw error;
    }
  }

  async #statOf(name: string) {
    return stat(join(this.#root, name)).catch(undefinedIfMissing);
  }

  /** Like the index, a record may be written in place: half of one is no JSON and counts as none. */
  async #remember({ diffId, received }: IngestedLayer): Promise<void> {
    const record = JSON.stringify({ diffId, size: received.size });
    await writeFile(join(this.#receivedRoot, hexOf(received.digest)), record, { mode: 0o600 });
  }

  async #readRecord(name: string): Promise<{ diffId: Digest; size: number } | undefined> {
    const text = await readFile(join(this.#receivedRoot, name), 'utf8').catch(undefinedIfMissing);
    if (text === undefined) return undefined;
    try {
      return fit(Received, JSON.parse(text));
    } catch {
      return undefined;
    }
  }
}

async function spool(
  source: AsyncIterable<Uint8Array>,
  output: LayerSpool,
  { expect = {}, signal }: IngestOptions,
): Promise<{ layer: IngestedLayer; index: TarIndex }> {
  try {
    const incoming = measured(untilAborted(source, signal), expect.size);
    const { format, bytes } = await openCompressed(incoming.bytes);
    const blobHash = createHash('sha256');
    const plain = format === 'none' ? bytes : decompress(hashed(bytes, blobHash), format);
    const layerHash = createHash('sha256');
    const indexer = new TarIndexer();
    let malformed: unknown;
    let size = 0;
    for await (const chunk of plain) {
      layerHash.update(chunk);
      size += chunk.length;
      // Bytes that were changed on the way seldom look like a tar, but what is wrong with them is their digest.
      if (malformed !== undefined) continue;
      try {
        indexer.write(chunk);
      } catch (error) {
        malformed = error;
        continue;
      }
      await output.write(chunk);
    }
    const diffId: Digest = `sha256:${layerHash.digest('hex')}`;
    const digest: Digest = format === 'none' ? diffId : `sha256:${blobHash.digest('hex')}`;
    const received = { digest, size: incoming.size() };
    if (expect.size !== undefined && expect.size !== received.size) {
      throw new SizeMismatch({ expected: expect.size, actual: received.size });
    }
    requireDigest('blob', expect.digest, digest);
    requireDigest('layer', expect.diffId, diffId);
    if (malformed !== undefined) throw malformed;
    const index = indexer.end({ vouched: expect.digest !== undefined || expect.diffId !== undefined });
    await output.end();
    return { layer: { diffId, size, received }, index };
  } finally {
    await output.settle();
  }
}

function requireDigest(subject: 'blob' | 'layer', expected: Digest | undefined, actual: Digest): void {
  if (expected !== undefined && expected !== actual) throw new DigestMismatch({ subject, expected, actual });
}

/** Counts bytes, and stops listening at the first one too many. */
function measured(
  source: AsyncIterable<Buffer>,
  expected: number | undefined,
): { bytes: AsyncIterable<Buffer>; size(): number } {
  let size = 0;
  async function* bytes(): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      size += chunk.length;
      if (expected !== undefined && size > expected) throw new SizeMismatch({ expected, actual: size });
      yield chunk;
    }
  }
  return { bytes: bytes(), size: () => size };
}

async function* hashed(
  source: AsyncIterable<Buffer>,
  hash: { update(chunk: Buffer): unknown },
): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    hash.update(chunk);
    yield chunk;
  }
}

/** The source as buffers; throws the signal's reason as soon as it fires, even while the source is silent. */
async function* untilAborted(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  signal?.throwIfAborted();
  const iterator = source[Symbol.asyncIterator]();
  let refuse: ((reason: unknown) => void) | undefined;
  const onAbort = () => refuse?.(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  let ended = false;
  try {
    for (;;) {
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        refuse = reject;
        // It may have fired while the chunk before was consumed, and it fires only once.
        signal?.throwIfAborted();
        iterator.next().then(resolve, reject);
      });
      signal?.throwIfAborted();
      if (next.done === true) {
        ended = true;
        return;
      }
      const { buffer, byteOffset, byteLength } = next.value;
      yield Buffer.from(buffer, byteOffset, byteLength);
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
    // Not waited for: a source that hangs would hang us with it.
    if (!ended) iterator.return?.().catch(() => undefined);
  }
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r');
  await directory.sync();
}

function emptyIfMissing(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOENT') return [];
  throw error;
}

function undefinedIfMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
