import type { Digest } from './digest.ts';

/**
 * What of an image's configuration outlives flattening, in OCI's own spelling (image-spec, config.md). Absent means the
 * image does not set it.
 */
export interface ImageConfig {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
  /** RFC 3339, as the engine recorded it. */
  readonly created?: string;
  readonly config: {
    readonly User?: string;
    readonly ExposedPorts?: Readonly<Record<string, object>>;
    readonly Env?: readonly string[];
    readonly Entrypoint?: readonly string[];
    readonly Cmd?: readonly string[];
    readonly Volumes?: Readonly<Record<string, object>>;
    readonly WorkingDir?: string;
    readonly Labels?: Readonly<Record<string, string>>;
    readonly StopSignal?: string;
  };
}

/** An image that has left the engine: every layer is in the layer store, verified. */
export interface FedImage {
  readonly config: ImageConfig;
  /** Digests of the plain (uncompressed) layer tars in the store, bottom first. A layer may repeat. */
  readonly layers: readonly Digest[];
  /**
   * What is not the image's but the exporter's, to be left out when flattening: paths from the root, without a leading
   * slash, each with everything below it.
   */
  readonly dropPaths?: readonly string[];
}

/** Bytes that can be read again and again, from any place, without being in memory. */
export interface Blob {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** Yields the bytes `start` (inclusive) to `end` (exclusive). A yielded buffer may be reused after the next `next()`. */
  read(start: number, end: number): AsyncIterable<Buffer>;
}

/** A flattened image in the form a registry or a layout hands out: one manifest, one config, one layer. */
export interface FlatImage extends AsyncDisposable {
  readonly manifest: Buffer;
  readonly manifestDigest: Digest;
  readonly config: Buffer;
  readonly configDigest: Digest;
  readonly layer: Blob;
  readonly layerMediaType: string;
  /** Bytes of the layer's tar, also where the layer is compressed. */
  readonly plainSize: number;
}
