import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../src/oci/digest.ts';
import { Cache } from '../../src/smolmachine/cache.ts';
import { type CacheEntry, keyOf, type NewEntry } from '../../src/smolmachine/entry.ts';
import { type ArtifactOptions, artifactFile, configDigest, sha256Of } from './artifact-file.ts';

/** A digest that stands for a name. */
export function digestOf(name: string): Digest {
  return sha256Of(Buffer.from(name));
}

/** What a maker records of an image with that name. */
export function recordOf(name: string, layers: readonly string[] = [`${name} layer`]): NewEntry {
  return {
    image: { id: digestOf(name), reference: `${name}:latest` },
    configDigest,
    layers: layers.map(digestOf),
    platform: 'linux/amd64',
    smolvmVersion: '1.9.3',
    feeder: 'save',
    sizes: { image: 123_456 },
  };
}

export interface Made {
  readonly layers?: readonly string[];
  readonly artifact?: ArtifactOptions;
  /** Digest of the image's config, in the artifact and in the record. */
  readonly config?: Digest;
}

/** Publishes an artifact the way a maker does: prepared in a scratch directory, under the key's lock. */
export async function publishArtifact(cache: Cache, name: string, made: Made = {}): Promise<CacheEntry> {
  const key = keyOf(digestOf(name));
  await using scratch = await cache.scratch();
  await using _lock = await cache.lock(key);
  const prepared = scratch.file('stub.smolmachine');
  const { config = configDigest } = made;
  const bytes = artifactFile({ ...made.artifact, manifest: { digest: config, ...made.artifact?.manifest } });
  await writeFile(prepared, bytes);
  const record = { ...recordOf(name, made.layers), configDigest: config, sha256: sha256Of(bytes) };
  return await cache.publish('smolmachine', key, prepared, record);
}

/** Writes a layout of one manifest, one config and one layer. */
export async function writeLayout(directory: string, layer: Buffer) {
  const blobs = join(directory, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  const put = async (bytes: Buffer, mediaType: string) => {
    const hex = createHash('sha256').update(bytes).digest('hex');
    await writeFile(join(blobs, hex), bytes);
    const digest: Digest = `sha256:${hex}`;
    return { mediaType, digest, size: bytes.length };
  };
  const config = await put(Buffer.from('{"os":"linux"}'), 'application/vnd.oci.image.config.v1+json');
  const blob = await put(layer, 'application/vnd.oci.image.layer.v1.tar');
  const manifest = await put(
    Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers: [blob] })),
    'application/vnd.oci.image.manifest.v1+json',
  );
  await writeFile(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
  return { manifestDigest: manifest.digest, configDigest: config.digest, layerDigest: blob.digest };
}

export async function publishLayout(
  cache: Cache,
  name: string,
  layer = Buffer.from(name),
): Promise<CacheEntry> {
  const key = keyOf(digestOf(name));
  await using scratch = await cache.scratch();
  await using _lock = await cache.lock(key);
  const prepared = scratch.file('layout');
  const digests = await writeLayout(prepared, layer);
  const { smolvmVersion: _, ...record } = recordOf(name);
  return await cache.publish('oci', key, prepared, { ...record, ...digests });
}

/** A layer store in name only: digests and sizes. */
export class ShelfOfLayers {
  readonly bytes: Map<Digest, number>;
  readonly damaged = new Set<Digest>();

  constructor(names: Readonly<Record<string, number>>) {
    this.bytes = new Map(Object.entries(names).map(([name, size]) => [digestOf(name), size]));
  }

  async list() {
    return [...this.bytes].map(([diffId, bytes]) => ({ diffId, bytes }));
  }

  async remove(diffId: Digest): Promise<void> {
    this.bytes.delete(diffId);
  }

  async verify(diffId: Digest, _signal?: AbortSignal): Promise<'ok' | 'damaged'> {
    return this.damaged.has(diffId) ? 'damaged' : 'ok';
  }
}

/** A clock that a test moves. */
export class Clock {
  #ms = Date.parse('2026-09-01T00:00:00Z');
  readonly now = () => new Date(this.#ms);

  advance(ms: number): void {
    this.#ms += ms;
  }
}

export function openCache(root: string, clock?: Clock): Promise<Cache> {
  return Cache.open(root, clock === undefined ? {} : { now: clock.now });
}
