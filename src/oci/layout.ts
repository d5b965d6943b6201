import { createHash } from 'node:crypto';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { count, fit } from '../schema.ts';
import { Digest, hexOf } from './digest.ts';
import { LayoutDamaged } from './errors.ts';
import type { FlatImage } from './image.ts';
import { LayerSpool } from './layer-spool.ts';
import { mediaTypes } from './media-types.ts';

/** Metadata is small; anything above this is not what we wrote. */
const documentLimit = 4 * 1024 * 1024;
const windowSize = 1024 * 1024;

const Descriptor = v.object({
  mediaType: v.string(),
  digest: Digest,
  size: count,
});
type Descriptor = v.InferOutput<typeof Descriptor>;

const LayoutMarker = v.object({ imageLayoutVersion: v.literal('1.0.0') });
const Index = v.object({
  schemaVersion: v.literal(2),
  manifests: v.strictTuple([v.object({ ...Descriptor.entries, mediaType: v.literal(mediaTypes.manifest) })]),
});
const Manifest = v.object({
  schemaVersion: v.literal(2),
  config: v.object({ ...Descriptor.entries, mediaType: v.literal(mediaTypes.config) }),
  layers: v.strictTuple([Descriptor]),
});
const Config = v.object({
  architecture: v.string(),
  os: v.string(),
  rootfs: v.object({ diff_ids: v.strictTuple([Digest]) }),
});

export interface LayoutFacts {
  readonly manifestDigest: Digest;
  readonly configDigest: Digest;
  readonly layerDigest: Digest;
  /** Digest of the plain layer. */
  readonly diffId: Digest;
  /** Bytes of all blobs. */
  readonly size: number;
}

export interface WriteLayoutOptions {
  /** What the image is called inside the layout (annotation `org.opencontainers.image.ref.name`). */
  readonly refName: string;
  /** Called with the bytes of the layer written since the last call. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Writes the image as an OCI layout (image-spec, image-layout.md) into a directory, which must not exist yet. When this
 * returns, all of it is on the disk; when it throws, what there is of it is the caller's to remove.
 */
export async function writeLayout(
  image: FlatImage,
  directory: string,
  options: WriteLayoutOptions,
): Promise<void> {
  const blobs = join(directory, 'blobs', 'sha256');
  await mkdir(directory, { mode: 0o700 });
  await mkdir(blobs, { recursive: true, mode: 0o700 });
  await writeFileDurably(join(blobs, hexOf(image.layer.digest)), layerBytes(image, options));
  await writeFileDurably(join(blobs, hexOf(image.configDigest)), [image.config]);
  await writeFileDurably(join(blobs, hexOf(image.manifestDigest)), [image.manifest]);
  const index = {
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: [
      {
        mediaType: mediaTypes.manifest,
        digest: image.manifestDigest,
        size: image.manifest.length,
        annotations: { 'org.opencontainers.image.ref.name': options.refName },
      },
    ],
  };
  await writeFileDurably(join(directory, 'index.json'), [Buffer.from(JSON.stringify(index))]);
  // Last, because a directory without it is no layout.
  await writeFileDurably(join(directory, 'oci-layout'), [Buffer.from('{"imageLayoutVersion":"1.0.0"}')]);
  for (const path of [blobs, join(directory, 'blobs'), directory]) await syncDirectory(path);
}

/**
 * Reads every byte of a layout that `writeLayout` made and compares it with what the layout says of itself.
 * @throws LayoutDamaged
 */
export async function verifyLayout(
  directory: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<LayoutFacts> {
  const blobPath = ({ digest }: Descriptor) => join(directory, 'blobs', 'sha256', hexOf(digest));
  await readDocument(join(directory, 'oci-layout'), LayoutMarker);
  const {
    manifests: [manifest],
  } = await readDocument(join(directory, 'index.json'), Index);
  await verifyBlob(blobPath(manifest), manifest, options.signal);
  const {
    config,
    layers: [layer],
  } = await readDocument(blobPath(manifest), Manifest);
  await verifyBlob(blobPath(config), config, options.signal);
  const {
    rootfs: {
      diff_ids: [diffId],
    },
  } = await readDocument(blobPath(config), Config);
  if (layer.mediaType === mediaTypes.plainLayer && layer.digest !== diffId) {
    throw new LayoutDamaged({ path: blobPath(config), reason: 'names another layer than the manifest' });
  }
  await verifyBlob(blobPath(layer), layer, options.signal);
  return {
    manifestDigest: manifest.digest,
    configDigest: config.digest,
    layerDigest: layer.digest,
    diffId,
    size: manifest.size + config.size + layer.size,
  };
}

async function* layerBytes(image: FlatImage, options: WriteLayoutOptions): AsyncGenerator<Buffer> {
  for await (const bytes of image.layer.read(0, image.layer.size)) {
    options.signal?.throwIfAborted();
    yield bytes;
    options.onBytes?.(bytes.length);
  }
}

async function writeFileDurably(
  path: string,
  content: AsyncIterable<Buffer> | Iterable<Buffer>,
): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  const output = new LayerSpool(file);
  try {
    for await (const bytes of content) await output.write(bytes);
    await output.end();
  } finally {
    await output.settle();
  }
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r');
  await directory.sync();
}

async function readDocument<T>(path: string, schema: v.GenericSchema<unknown, T>): Promise<T> {
  const damaged = (reason: string, cause?: unknown) => new LayoutDamaged({ path, reason }, { cause });
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? damaged('missing', error) : error;
  });
  if (bytes.length > documentLimit) throw damaged('too large');
  try {
    return fit(schema, JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    throw damaged('not what was written', error);
  }
}

async function verifyBlob(
  path: string,
  expected: Descriptor,
  signal: AbortSignal | undefined,
): Promise<void> {
  await using file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? new LayoutDamaged({ path, reason: 'missing' }) : error;
  });
  const { size } = await file.stat();
  if (size !== expected.size) {
    throw new LayoutDamaged({ path, reason: `${size} bytes long instead of ${expected.size}` });
  }
  const hash = createHash('sha256');
  const window = Buffer.allocUnsafeSlow(windowSize);
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(window, 0, windowSize);
    if (bytesRead === 0) break;
    hash.update(window.subarray(0, bytesRead));
  }
  if (`sha256:${hash.digest('hex')}` !== expected.digest) {
    throw new LayoutDamaged({ path, reason: 'its content changed' });
  }
}
