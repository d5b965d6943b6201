import type { IncomingMessage } from 'node:http';
import { type Digest, isDigest } from '../digest.ts';
import type { FedImage } from '../image.ts';
import { type Credential, newCredential } from './credential.ts';
import { PushIncomplete } from './errors.ts';
import { type Exchange, sendBlob, sendBytes, sendEmpty } from './exchange.ts';
import { DocumentRoom, IncomingDocument } from './incoming-document.ts';
import { malformedDigest, memoryBlob, unknownBlob, unknownManifest } from './published-image.ts';
import { digestParameter, type Manifest, type Platform, parseManifest, pickImage } from './pushed-image.ts';
import { parseChunkRange } from './range.ts';
import { methodNotAllowed, Refusal } from './refusal.ts';
import type { Route } from './route.ts';
import { digestOf, Upload, type UploadOptions, wrongDigest } from './upload.ts';

/** Takes one push of an engine. It accepts writes from its making to its disposal, with its own credential only. */
export interface Receiver extends AsyncDisposable {
  readonly writer: Credential;
  /** What the store first failed with, a full disk for one; the engine was only told that it is denied. */
  readonly failure: unknown;
  /**
   * The image that was pushed, its layers in the store. Call it when the engine says that the push has ended.
   * @throws PushIncomplete, PushedPlatformUnclear, PushedLayersDiffer; or what the store failed with (a full disk).
   */
  image(platform?: Platform): Promise<FedImage>;
}

/** Uploads under way at once; Docker has five by default. */
const maxUploads = 64;
const maxManifests = 256;

export interface ReceiverOptions extends UploadOptions {
  readonly repository: string;
  readonly tag: string;
  /** For failures: what the engine pushes to. */
  readonly reference: string;
  readonly onClose: () => void;
}

/** The writing half of the registry: distribution-spec, Push. */
export class PushReceiver implements Receiver {
  readonly writer = newCredential('claude-bottle-push');
  readonly #options: ReceiverOptions;
  readonly #room = new DocumentRoom();
  readonly #uploads = new Map<string, Upload>();
  readonly #documents = new Map<Digest, Buffer>();
  readonly #manifests = new Map<Digest, { bytes: Buffer; mediaType: string }>();
  readonly #parsed = new Map<Digest, Manifest>();
  #root: Digest | undefined;
  #failure: unknown;
  #closed = false;

  constructor(options: ReceiverOptions) {
    this.#options = options;
  }

  get failure(): unknown {
    return this.#failure;
  }

  async image(platform?: Platform): Promise<FedImage> {
    const { reference, store } = this.#options;
    if (this.#root === undefined) {
      if (this.#failure !== undefined) throw this.#failure;
      throw new PushIncomplete({ reference, missing: 'the manifest' });
    }
    const pushed = { reference, store, manifests: this.#parsed, documents: this.#documents };
    return pickImage(pushed, this.#root, platform);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#options.onClose();
    const uploads = [...this.#uploads.values()];
    this.#uploads.clear();
    await Promise.all(uploads.map((upload) => upload.abort()));
    this.#documents.clear();
    this.#manifests.clear();
  }

  /** Answers a request that came with the writer's credential. */
  async answer(exchange: Exchange, route: Route): Promise<void> {
    if (route.kind === 'uploads') await this.#start(exchange);
    else if (route.kind === 'upload') await this.#continue(exchange, route.id);
    else if (route.kind === 'blob') await this.#blob(exchange, route.digest);
    else if (route.kind === 'manifest') await this.#manifest(exchange, route.reference);
    else throw new Refusal(403, 'DENIED', 'this credential only pushes');
  }

  async #start(exchange: Exchange): Promise<void> {
    if (exchange.request.method !== 'POST') throw methodNotAllowed('POST');
    if (this.#uploads.size >= maxUploads)
      throw new Refusal(429, 'TOOMANYREQUESTS', 'too many uploads at once');
    // A wish to mount from another repository is answered as if that had no such blob, which the spec provides for.
    const given = exchange.query.has('digest');
    const digest = digestParameter(exchange.query);
    if (given && digest === undefined) throw malformedDigest();
    const upload = new Upload(this.#options, this.#room);
    this.#uploads.set(upload.id, upload);
    if (digest === undefined) sendEmpty(exchange, 202, this.#progress(upload));
    else await this.#finish(exchange, upload, digest);
  }

  async #continue(exchange: Exchange, id: string): Promise<void> {
    const upload = this.#uploads.get(id);
    if (upload === undefined)
      throw new Refusal(404, 'BLOB_UPLOAD_UNKNOWN', 'blob upload unknown to registry');
    const { request } = exchange;
    switch (request.method) {
      case 'GET':
        return sendEmpty(exchange, 204, this.#progress(upload));
      case 'PATCH':
        this.#checkChunk(request, upload);
        await this.#orAbort(upload, () => upload.append(request));
        return sendEmpty(exchange, 202, this.#progress(upload));
      case 'PUT': {
        const digest = digestParameter(exchange.query);
        if (digest === undefined) throw malformedDigest();
        this.#checkChunk(request, upload);
        return this.#finish(exchange, upload, digest);
      }
      case 'DELETE':
        this.#uploads.delete(id);
        await upload.abort();
        return sendEmpty(exchange, 204, {});
      default:
        throw methodNotAllowed('GET, PATCH, PUT, DELETE');
    }
  }

  async #finish(exchange: Exchange, upload: Upload, digest: Digest): Promise<void> {
    const document = await this.#orAbort(upload, async () => {
      await upload.append(exchange.request);
      return upload.complete(digest);
    });
    this.#uploads.delete(upload.id);
    if (document !== undefined) this.#keepDocument(digest, document);
    sendEmpty(exchange, 201, {
      Location: `/v2/${this.#options.repository}/blobs/${digest}`,
      'Docker-Content-Digest': digest,
    });
  }

  /** An upload that failed or whose client hung up is over: on loopback, starting again is cheaper than resuming. */
  async #orAbort<T>(upload: Upload, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Refusal && error.status === 409) throw error;
      this.#uploads.delete(upload.id);
      await upload.abort();
      if (error instanceof Refusal && !this.#closed) this.#failure ??= error.cause;
      throw error;
    }
  }

  #checkChunk(request: IncomingMessage, upload: Upload): void {
    const header = request.headers['content-range'];
    if (header === undefined) return;
    const chunk = parseChunkRange(header);
    const length = request.headers['content-length'];
    const fits =
      length === undefined || Number(length) === (chunk === undefined ? 0 : chunk.end - chunk.start);
    if (chunk !== undefined && chunk.start === upload.received && fits) return;
    throw new Refusal(416, 'RANGE_INVALID', 'the chunk does not continue the upload', this.#progress(upload));
  }

  #progress(upload: Upload) {
    return {
      Location: `/v2/${this.#options.repository}/blobs/uploads/${upload.id}`,
      Range: `0-${Math.max(0, upload.received - 1)}`,
      'Docker-Upload-UUID': upload.id,
    };
  }

  #keepDocument(digest: Digest, document: IncomingDocument): void {
    if (this.#closed || this.#documents.has(digest)) document.drop();
    else this.#documents.set(digest, document.keep());
  }

  async #blob(exchange: Exchange, digest: string): Promise<void> {
    const { method } = exchange.request;
    if (method !== 'GET' && method !== 'HEAD') throw methodNotAllowed('GET, HEAD');
    if (!isDigest(digest)) throw unknownBlob(digest);
    const document = this.#documents.get(digest);
    if (document !== undefined) {
      return sendBlob(exchange, memoryBlob(digest, document), 'application/octet-stream', undefined);
    }
    const layer = await this.#options.store.receivedAs(digest);
    if (layer === undefined) throw unknownBlob(digest);
    // The layer is kept plain, so the bytes that were pushed are not here to be read back. No pusher does.
    if (method === 'GET') throw methodNotAllowed('HEAD');
    exchange.response.writeHead(200, {
      'Content-Type': 'application/octet-stream',
      'Content-Length': layer.size,
      'Docker-Content-Digest': digest,
    });
    exchange.response.end();
  }

  async #manifest(exchange: Exchange, reference: string): Promise<void> {
    const { method } = exchange.request;
    if (method === 'PUT') return this.#putManifest(exchange, reference);
    if (method !== 'GET' && method !== 'HEAD') throw methodNotAllowed('GET, HEAD, PUT');
    const digest = reference === this.#options.tag ? this.#root : isDigest(reference) ? reference : undefined;
    const manifest = digest === undefined ? undefined : this.#manifests.get(digest);
    if (digest === undefined || manifest === undefined) throw unknownManifest(reference);
    const headers = { 'Content-Type': manifest.mediaType, 'Docker-Content-Digest': digest };
    sendBytes(exchange, 200, headers, manifest.bytes);
  }

  async #putManifest(exchange: Exchange, reference: string): Promise<void> {
    const document = new IncomingDocument(this.#room);
    try {
      for await (const chunk of exchange.request as AsyncIterable<Buffer>) document.append(chunk);
      await this.#takeManifest(exchange, reference, document);
    } finally {
      document.drop();
    }
  }

  async #takeManifest(exchange: Exchange, reference: string, document: IncomingDocument): Promise<void> {
    const { bytes } = document;
    const digest = digestOf(bytes);
    if (reference.includes(':')) {
      if (!isDigest(reference)) throw malformedDigest();
      if (reference !== digest) throw wrongDigest();
    } else if (reference !== this.#options.tag) {
      throw new Refusal(403, 'DENIED', 'this registry has one tag');
    }
    const manifest = parseManifest(bytes);
    const contentType = exchange.request.headers['content-type']?.split(';')[0]?.trim();
    const mediaType = manifest?.mediaType ?? contentType;
    if (manifest === undefined || mediaType === undefined || (contentType ?? mediaType) !== mediaType) {
      throw new Refusal(400, 'MANIFEST_INVALID', 'the manifest is invalid');
    }
    if (manifest.kind === 'image') await this.#checkBlobs(manifest);
    const known = this.#manifests.get(digest);
    if (known === undefined && this.#manifests.size >= maxManifests) {
      throw new Refusal(429, 'TOOMANYREQUESTS', 'too many manifests in one push');
    }
    if (this.#closed) throw new Refusal(403, 'DENIED', 'the push is over');
    this.#manifests.set(digest, { bytes: known?.bytes ?? document.keep(), mediaType });
    this.#parsed.set(digest, manifest);
    if (reference === this.#options.tag) this.#root = digest;
    sendEmpty(exchange, 201, {
      Location: `/v2/${this.#options.repository}/manifests/${digest}`,
      'Docker-Content-Digest': digest,
    });
  }

  async #checkBlobs({ config, layers }: Extract<Manifest, { kind: 'image' }>): Promise<void> {
    for (const { digest } of [config, ...layers]) {
      if (this.#documents.has(digest)) continue;
      if (digest !== config.digest && (await this.#options.store.receivedAs(digest)) !== undefined) continue;
      throw new Refusal(
        404,
        'MANIFEST_BLOB_UNKNOWN',
        `the manifest names a blob that is not here: ${digest}`,
      );
    }
  }
}
