import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { Digest, hexOf } from '../oci/digest.ts';
import { count, ifFits } from '../schema.ts';

/** What we read of the layout's JSON (image-spec v1.1, image-layout.md, descriptor.md, manifest.md). */
const Descriptor = v.object({ digest: Digest, size: count });
const Index = v.object({ manifests: v.array(Descriptor) });
const Manifest = v.object({ config: Descriptor, layers: v.array(Descriptor) });
const Marker = v.object({ imageLayoutVersion: v.literal('1.0.0') });

export interface LayoutExpectation {
  readonly manifestDigest: Digest;
  readonly configDigest: Digest;
}

export interface LayoutVerifyOptions {
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Holds a layout directory against its record at the price of a cache hit: the marker, the index, the manifest's own
 * digest, and the presence and size of every blob.
 * @returns what is wrong, or `undefined`.
 */
export async function checkLayout(
  directory: string,
  expected: LayoutExpectation,
): Promise<string | undefined> {
  const found = await blobsOf(directory, expected);
  return typeof found === 'string' ? found : undefined;
}

/** `checkLayout`, and then every blob's digest over its bytes. */
export async function verifyLayoutBlobs(
  directory: string,
  expected: LayoutExpectation,
  options: LayoutVerifyOptions = {},
): Promise<string | undefined> {
  const blobs = await blobsOf(directory, expected);
  if (typeof blobs === 'string') return blobs;
  for (const { digest } of blobs) {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(blobPath(directory, digest), { highWaterMark: 1024 * 1024 })) {
      options.signal?.throwIfAborted();
      hash.update(chunk as Buffer);
      options.onBytes?.((chunk as Buffer).length);
    }
    if (hash.digest('hex') !== hexOf(digest)) return `blob ${digest} has other content`;
  }
  return undefined;
}

/** Bytes of all files in a layout. */
export async function layoutBytes(directory: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) total += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return total;
}

type Blobs = v.InferOutput<typeof Descriptor>[];

async function blobsOf(directory: string, expected: LayoutExpectation): Promise<Blobs | string> {
  const marker = ifFits(Marker, await readJson(join(directory, 'oci-layout')));
  if (marker === undefined) return 'oci-layout is missing or wrong';
  const index = ifFits(Index, await readJson(join(directory, 'index.json')));
  if (index === undefined) return 'index.json is missing or wrong';
  const [descriptor, ...others] = index.manifests;
  if (others.length > 0 || descriptor?.digest !== expected.manifestDigest) {
    return 'index.json names another manifest';
  }
  const text = await readFile(blobPath(directory, descriptor.digest)).catch(absent);
  if (text === undefined) return `blob ${descriptor.digest} is missing`;
  if (createHash('sha256').update(text).digest('hex') !== hexOf(descriptor.digest)) {
    return `blob ${descriptor.digest} has other content`;
  }
  const manifest = ifFits(Manifest, parseJson(text.toString('utf8')));
  if (manifest === undefined) return 'the manifest is wrong';
  if (manifest.config.digest !== expected.configDigest) return 'the manifest names another config';
  const blobs = [descriptor, manifest.config, ...manifest.layers];
  for (const { digest, size } of blobs) {
    const stats = await stat(blobPath(directory, digest)).catch(absent);
    if (stats === undefined) return `blob ${digest} is missing`;
    if (stats.size !== size) return `blob ${digest} has ${stats.size} bytes instead of ${size}`;
  }
  return blobs;
}

function blobPath(directory: string, digest: Digest): string {
  return join(directory, 'blobs', 'sha256', hexOf(digest));
}

async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch(absent);
  return text === undefined ? undefined : parseJson(text);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Absence is an answer here; anything else, such as an I/O error, is not. */
function absent(error: NodeJS.ErrnoException): undefined {
  if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes(error.code ?? '')) return undefined;
  throw error;
}
