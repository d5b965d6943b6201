import * as v from 'valibot';
import { fit } from '../../schema.ts';
import { type Digest, isDigest } from '../digest.ts';
import type { FlatImage } from '../image.ts';
import { type Exchange, sendBlob, sendBytes } from './exchange.ts';
import { Refusal } from './refusal.ts';
import { looksLikeDigest } from './route.ts';

const MediaTypes = v.object({ mediaType: v.string(), config: v.object({ mediaType: v.string() }) });

/** A flattened image as a registry shows it: one manifest under one tag, two blobs. */
export class PublishedImage {
  readonly #image: FlatImage;
  readonly #tag: string;
  readonly #mediaTypes: v.InferOutput<typeof MediaTypes>;
  readonly #onBytes: ((n: number) => void) | undefined;

  constructor(image: FlatImage, tag: string, onBytes: ((n: number) => void) | undefined) {
    this.#image = image;
    this.#tag = tag;
    this.#mediaTypes = fit(MediaTypes, JSON.parse(image.manifest.toString('utf8')));
    this.#onBytes = onBytes;
  }

  /** Answers GET and HEAD of a manifest. */
  sendManifest(exchange: Exchange, reference: string): void {
    const { manifest, manifestDigest } = this.#image;
    if (reference !== this.#tag && reference !== manifestDigest) throw unknownManifest(reference);
    const headers = { 'Content-Type': this.#mediaTypes.mediaType, 'Docker-Content-Digest': manifestDigest };
    sendBytes(exchange, 200, headers, manifest);
  }

  /** Answers GET and HEAD of a blob, ranges included. */
  async sendBlob(exchange: Exchange, digest: string): Promise<void> {
    const { config, configDigest, layer, layerMediaType } = this.#image;
    if (digest === layer.digest) await sendBlob(exchange, layer, layerMediaType, this.#onBytes);
    else if (digest === configDigest) {
      const blob = memoryBlob(configDigest, config);
      await sendBlob(exchange, blob, this.#mediaTypes.config.mediaType, this.#onBytes);
    } else throw unknownBlob(digest);
  }
}

/** Bytes in memory in the shape of a blob. */
export function memoryBlob(digest: Digest, bytes: Buffer) {
  return {
    digest,
    size: bytes.length,
    async *read(start: number, end: number) {
      if (end > start) yield bytes.subarray(start, end);
    },
  };
}

/** 404, or 400 when the reference is a malformed digest. */
export function unknownManifest(reference: string): Refusal {
  return reference.includes(':') && !looksLikeDigest(reference)
    ? malformedDigest()
    : new Refusal(404, 'MANIFEST_UNKNOWN', 'manifest unknown to registry');
}

/** 404, or 400 when the digest is malformed. */
export function unknownBlob(digest: string): Refusal {
  return isDigest(digest) || looksLikeDigest(digest)
    ? new Refusal(404, 'BLOB_UNKNOWN', 'blob unknown to registry')
    : malformedDigest();
}

export function malformedDigest(): Refusal {
  return new Refusal(400, 'DIGEST_INVALID', 'the digest is malformed');
}
