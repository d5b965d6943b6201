import { createHash } from 'node:crypto';
import type { Digest } from './digest.ts';
import { flatten } from './flatten.ts';
import { gzip } from './gzip.ts';
import type { Blob, FedImage, FlatImage, ImageConfig } from './image.ts';
import type { OpenLayer } from './layer.ts';
import type { LayerStore } from './layer-store.ts';
import { mediaTypes } from './media-types.ts';

export interface OpenFlatImageOptions {
  /** `gzip` for consumers that cannot take a plain layer. */
  readonly compression: 'none' | 'gzip';
  /** A directory for the compressed layer; unused without compression. */
  readonly scratch: string;
  readonly signal?: AbortSignal;
  /** Called while the layer is hashed, with the bytes since the last call. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * The image as one layer, ready to be handed out. It reads from the stored layers for as long as it is open. The same
 * image gives the same digests on every machine: nothing in it tells a time, a name or an engine.
 * @throws LayerMissing, LayerDamaged, and what `flatten` throws.
 */
export async function openFlatImage(
  image: FedImage,
  store: LayerStore,
  options: OpenFlatImageOptions,
): Promise<FlatImage> {
  await using resources = new AsyncDisposableStack();
  const { signal, onBytes } = options;
  const layers: OpenLayer[] = [];
  for (const diffId of image.layers) layers.push(resources.use(await store.open(diffId, signal)));
  const plain = await flatten(layers, {
    ...(image.dropPaths === undefined ? {} : { dropPaths: image.dropPaths }),
    ...(signal === undefined ? {} : { signal }),
    ...(onBytes === undefined ? {} : { onBytes }),
  });
  const compressed = options.compression === 'gzip';
  const layer = compressed ? resources.use(await gzip(plain, options)) : plain;
  const layerMediaType = compressed ? mediaTypes.gzipLayer : mediaTypes.plainLayer;
  const config = Buffer.from(JSON.stringify(flatConfig(image.config, plain.digest)));
  const configDigest = digestOf(config);
  const manifest = Buffer.from(JSON.stringify(flatManifest(config, configDigest, layer, layerMediaType)));
  const open = resources.move();
  return {
    manifest,
    manifestDigest: digestOf(manifest),
    config,
    configDigest,
    layer,
    layerMediaType,
    plainSize: plain.size,
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** image-spec, config.md. The creation time is left out: it would make two images of what is one. */
function flatConfig(image: ImageConfig, diffId: Digest) {
  return {
    architecture: image.architecture,
    os: image.os,
    ...(image.variant === undefined ? {} : { variant: image.variant }),
    config: sorted(image.config),
    rootfs: { type: 'layers', diff_ids: [diffId] },
    history: [{ created_by: 'claude-bottle flatten' }],
  };
}

/** image-spec, manifest.md. */
function flatManifest(config: Buffer, configDigest: Digest, layer: Blob, layerMediaType: string) {
  return {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.config, digest: configDigest, size: config.length },
    layers: [{ mediaType: layerMediaType, digest: layer.digest, size: layer.size }],
  };
}

/** With the keys of every object in order; lists stay as they are. */
function sorted(value: object): object {
  const entries = Object.entries(value) as [string, unknown][];
  return Object.fromEntries(
    entries
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, isPlainObject(inner) ? sorted(inner) : inner]),
  );
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function digestOf(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
