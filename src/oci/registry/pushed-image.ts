import * as v from 'valibot';
import { count, ifFits, recordOf } from '../../schema.ts';
import { Digest, isDigest } from '../digest.ts';
import type { FedImage } from '../image.ts';
import { parseDiffIds, parseImageConfig } from '../image-config.ts';
import type { LayerStore } from '../layer-store.ts';
import { PushedLayersDiffer, PushedPlatformUnclear, PushIncomplete } from './errors.ts';

/** In OCI's spelling (image-spec, config.md). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

const Descriptor = v.object({
  mediaType: v.optional(v.string()),
  digest: Digest,
  size: count,
});

const ImageManifest = v.object({
  schemaVersion: v.literal(2),
  mediaType: v.optional(v.string()),
  config: Descriptor,
  layers: v.array(Descriptor),
});

const Index = v.object({
  schemaVersion: v.literal(2),
  mediaType: v.optional(v.string()),
  manifests: v.array(
    v.object({
      ...Descriptor.entries,
      annotations: v.nullish(recordOf(v.string())),
      platform: v.nullish(v.object({ os: v.string(), architecture: v.string() })),
    }),
  ),
});

/** An image manifest, or an index of such (image-spec, manifest.md and image-index.md; Docker's schema 2 is the same JSON). */
export type Manifest =
  | ({ readonly kind: 'image' } & v.InferOutput<typeof ImageManifest>)
  | ({ readonly kind: 'index' } & v.InferOutput<typeof Index>);

/** What was pushed, by digest. */
export interface Pushed {
  /** For failures: what the engine pushed to. */
  readonly reference: string;
  readonly manifests: ReadonlyMap<Digest, Manifest>;
  /** Configurations, attestations and other JSON. */
  readonly documents: ReadonlyMap<Digest, Buffer>;
  readonly store: LayerStore;
}

/** `undefined` when the bytes are neither an image manifest nor an index. */
export function parseManifest(bytes: Buffer): Manifest | undefined {
  const json = parseJson(bytes);
  const index = ifFits(Index, json);
  if (index !== undefined) return { kind: 'index', ...index };
  const image = ifFits(ImageManifest, json);
  return image === undefined ? undefined : { kind: 'image', ...image };
}

/**
 * Finds the one runnable image below `root` and maps its layers to the store's plain ones. An index is searched to its
 * leaves; attestations are passed over (BuildKit marks them `unknown/unknown` and `vnd.docker.reference.type`).
 * @throws PushIncomplete, PushedPlatformUnclear, PushedLayersDiffer
 */
export async function pickImage(pushed: Pushed, root: Digest, wanted?: Platform): Promise<FedImage> {
  const { reference } = pushed;
  const offered: string[] = [];
  const matching = new Map<Digest, { manifest: v.InferOutput<typeof ImageManifest>; config: Buffer }>();
  let missing: string | undefined;
  for (const digest of leaves(pushed.manifests, root)) {
    const manifest = pushed.manifests.get(digest);
    const config = manifest?.kind === 'image' ? pushed.documents.get(manifest.config.digest) : undefined;
    if (manifest?.kind !== 'image' || config === undefined) {
      missing ??= manifest === undefined ? `manifest ${digest}` : `the configuration of ${digest}`;
      continue;
    }
    const platform = parseImageConfig(config);
    offered.push(describe(platform));
    if (wanted === undefined || satisfies(platform, wanted)) matching.set(digest, { manifest, config });
  }
  const [only] = matching.values();
  if (only === undefined && missing !== undefined) throw new PushIncomplete({ reference, missing });
  if (only === undefined || matching.size > 1) {
    throw new PushedPlatformUnclear({
      reference,
      ...(wanted === undefined ? {} : { wanted: describe(wanted) }),
      offered,
    });
  }
  const layers: Digest[] = [];
  for (const { digest } of only.manifest.layers) {
    const layer = await pushed.store.receivedAs(digest);
    if (layer === undefined) throw new PushIncomplete({ reference, missing: `layer ${digest}` });
    layers.push(layer.diffId);
  }
  const expected = parseDiffIds(only.config);
  if (expected.length !== layers.length || expected.some((diffId, at) => diffId !== layers[at])) {
    throw new PushedLayersDiffer({ reference, expected, pushed: layers });
  }
  return { config: parseImageConfig(only.config), layers };
}

/** The image manifests below `root`, each once. A manifest that is not there counts, so that it can be missed. */
function leaves(manifests: ReadonlyMap<Digest, Manifest>, root: Digest): Set<Digest> {
  const found = new Set<Digest>();
  const seen = new Set<Digest>();
  const queue = [root];
  for (let digest = queue.pop(); digest !== undefined; digest = queue.pop()) {
    if (seen.has(digest)) continue;
    seen.add(digest);
    const manifest = manifests.get(digest);
    if (manifest?.kind !== 'index') found.add(digest);
    else for (const child of manifest.manifests) if (isRunnable(child)) queue.push(child.digest);
  }
  return found;
}

function isRunnable({ platform, annotations }: v.InferOutput<typeof Index>['manifests'][number]): boolean {
  if (annotations?.['vnd.docker.reference.type'] !== undefined) return false;
  return !(platform?.os === 'unknown' && platform.architecture === 'unknown');
}

function satisfies(offered: Platform, wanted: Platform): boolean {
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) return false;
  return wanted.variant === undefined || offered.variant === undefined || wanted.variant === offered.variant;
}

function describe({ os, architecture, variant }: Platform): string {
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/');
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** The digest in a `digest` parameter; `undefined` when it is absent, malformed or not SHA-256. */
export function digestParameter(query: URLSearchParams): Digest | undefined {
  const text = query.get('digest') ?? '';
  return isDigest(text) ? text : undefined;
}
