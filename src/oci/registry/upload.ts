import { createHash, randomUUID } from 'node:crypto';
import type { Digest } from '../digest.ts';
import { headSize, looksLikeDocument } from '../document.ts';
import { DigestMismatch } from '../errors.ts';
import type { IngestedLayer, LayerStore } from '../layer-store.ts';
import { Channel } from './channel.ts';
import { type DocumentRoom, IncomingDocument } from './incoming-document.ts';
import { Refusal } from './refusal.ts';

export interface UploadOptions {
  readonly store: LayerStore;
  /** A directory on the store's file system. */
  readonly scratch: string;
  readonly onBytes: ((n: number) => void) | undefined;
}

interface IncomingLayer {
  readonly channel: Channel;
  readonly ingested: Promise<IngestedLayer>;
}

/**
 * One blob on its way in, in one request or many. Its first bytes tell what it is: a JSON document stays in memory,
 * anything else is a layer and streams into the store while it arrives.
 */
export class Upload {
  readonly id = randomUUID();
  readonly #options: UploadOptions;
  readonly #stop = new AbortController();
  /** Filled in when the client says it, at the latest with its last request; the store looks when the bytes end. */
  readonly #expect: { digest?: Digest } = {};
  #received = 0;
  #busy = false;
  /** Everything so far, as long as it may be a document. */
  readonly #document: IncomingDocument;
  #layer: IncomingLayer | undefined;

  constructor(options: UploadOptions, room: DocumentRoom) {
    this.#options = options;
    this.#document = new IncomingDocument(room);
  }

  /** Bytes received so far. */
  get received(): number {
    return this.#received;
  }

  /**
   * Takes the next part.
   * @throws Refusal, or the error of a body that broke off.
   */
  async append(body: AsyncIterable<Uint8Array>): Promise<void> {
    this.#occupy();
    try {
      for await (const chunk of body) {
        this.#stop.signal.throwIfAborted();
        if (chunk.length === 0) continue;
        this.#received += chunk.length;
        this.#options.onBytes?.(chunk.length);
        await this.#take(chunk);
      }
    } finally {
      this.#busy = false;
    }
  }

  #occupy(): void {
    if (this.#busy) throw new Refusal(409, 'BLOB_UPLOAD_INVALID', 'another request is writing this upload');
    this.#busy = true;
  }

  async #take(chunk: Uint8Array): Promise<void> {
    if (this.#layer === undefined) {
      const before = this.#document.bytes;
      const isKnown = before.length >= headSize;
      if (isKnown || looksLikeDocument(Buffer.concat([before, chunk.subarray(0, headSize)]))) {
        this.#document.append(chunk);
        return;
      }
      this.#layer = this.#startLayer();
      this.#document.drop();
      if (before.length > 0) await this.#stream(this.#layer, before);
    }
    await this.#stream(this.#layer, chunk);
  }

  async #stream({ channel, ingested }: IncomingLayer, chunk: Uint8Array): Promise<void> {
    if (await channel.push(chunk)) return;
    await refusing(ingested);
    throw new Refusal(400, 'BLOB_UPLOAD_INVALID', 'there are bytes after the end of the layer');
  }

  #startLayer(): IncomingLayer {
    const channel = new Channel();
    const { store, scratch } = this.#options;
    const ingested = store.ingest(channel, {
      scratch,
      signal: this.#stop.signal,
      expect: this.#expect,
    });
    ingested.catch((error: unknown) => channel.fail(error));
    return { channel, ingested };
  }

  /**
   * Ends the blob.
   * @returns the document, the caller's to keep or to drop; `undefined` for a layer, which is in the store now.
   * @throws Refusal when the bytes do not have that digest.
   */
  async complete(digest: Digest): Promise<IncomingDocument | undefined> {
    this.#occupy();
    if (this.#layer === undefined) {
      if (digestOf(this.#document.bytes) !== digest) throw wrongDigest();
      return this.#document;
    }
    this.#expect.digest = digest;
    this.#layer.channel.end();
    const { received } = await refusing(this.#layer.ingested);
    if (received.digest !== digest) throw wrongDigest();
    return undefined;
  }

  /** Ends it without a result and leaves nothing behind. */
  async abort(): Promise<void> {
    const reason = new Error('the upload was given up');
    this.#stop.abort(reason);
    this.#document.drop();
    this.#layer?.channel.fail(reason);
    await this.#layer?.ingested.catch(() => undefined);
  }
}

export function digestOf(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export function wrongDigest(cause?: unknown): Refusal {
  return new Refusal(400, 'DIGEST_INVALID', 'the digest does not match the content', {}, { cause });
}

/**
 * The layer; or the store's failure as an answer that keeps it as its cause. DENIED is what makes Docker give up at
 * once, where it would send the same bytes five times more, with growing pauses (moby v20.10, distribution/errors.go).
 */
async function refusing(ingested: Promise<IngestedLayer>): Promise<IngestedLayer> {
  try {
    return await ingested;
  } catch (cause) {
    if (cause instanceof DigestMismatch) throw wrongDigest(cause);
    throw new Refusal(403, 'DENIED', 'the layer could not be stored', {}, { cause });
  }
}
