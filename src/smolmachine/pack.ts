import { type BuildSource, buildImage } from '../engine/build.ts';
import type { Engine } from '../engine/engine.ts';
import type { FeederName } from '../engine/feed/feeder.ts';
import { type InspectedImage, inspectImage } from '../engine/image.ts';
import type { Scratch } from '../process/scratch.ts';
import type { Smolvm } from '../smolvm/find.ts';
import type { PackProgress } from '../smolvm/output.ts';
import type { Cache } from './cache.ts';
import { convertThroughContainer } from './convert-container.ts';
import { convertThroughEmbedded } from './convert-embedded.ts';
import { type CacheEntry, type EntryForm, keyOf, type NewEntry } from './entry.ts';
import { PlatformMismatch } from './errors.ts';
import { ensureSpace } from './space.ts';

/** What to pack, and how. */
export interface PackRequest {
  readonly source:
    | { readonly kind: 'build'; readonly build: BuildSource }
    | { readonly kind: 'image'; readonly reference: string };
  readonly form: EntryForm;
  /** Which registry smolvm pulls from: ours, or a container of the engine's. */
  readonly registry: 'embedded' | 'container';
  readonly feeder: 'auto' | Exclude<FeederName, 'known'>;
  /** Convert anew even if the cache has it. */
  readonly anew: boolean;
  /** Every line of the build, as it comes. */
  readonly onBuildLine?: (line: string) => void;
}

/** The steps that can be told apart from outside. */
export type StepName =
  | 'build'
  | 'inspect'
  | 'feed'
  | 'flatten'
  | 'registry'
  | 'push'
  | 'pack'
  | 'layout'
  | 'verify';

/** What a running step tells of itself. Figures are totals so far, in bytes. */
export type StepReport = (status: {
  bytes?: number;
  totalBytes?: number;
  pack?: PackProgress;
  detail?: string;
}) => void;

/** What happened beside the steps and is worth telling. */
export type Note =
  | { readonly kind: 'waiting'; readonly pid: number }
  | { readonly kind: 'damaged'; readonly path: string; readonly reason: string }
  | { readonly kind: 'feeder'; readonly order: readonly FeederName[]; readonly reason: string }
  | {
      readonly kind: 'fallback';
      readonly from: FeederName;
      readonly to: FeederName | undefined;
      readonly error: unknown;
    }
  | { readonly kind: 'merged-layers'; readonly layers: number };

/** Whoever watches: runs each step, and may show it. */
export interface Observer {
  step<T>(name: StepName, work: (report: StepReport) => Promise<T>): Promise<T>;
  note(note: Note): void;
}

export interface PackTools {
  readonly engine: Engine;
  readonly cache: Cache;
  /** Needed for the form `smolmachine`. */
  readonly smolvm: Promise<Smolvm> | undefined;
  readonly observer: Observer;
  readonly signal: AbortSignal;
}

export interface Packed {
  readonly entry: CacheEntry;
  /** Whether the cache had it already. */
  readonly cached: boolean;
}

/** What a conversion is given, and what it gives back for the cache. */
export interface Conversion extends PackTools {
  readonly request: PackRequest;
  readonly image: InspectedImage;
  readonly scratch: Scratch;
  /** How the image is called in the registry that smolvm pulls from; it ends up in the artifact. */
  readonly repository: string;
  readonly tag: string;
}

export interface Converted {
  /** A file or a directory inside the scratch directory. */
  readonly path: string;
  readonly record: Omit<NewEntry, 'image' | 'platform'>;
}

/**
 * From a Dockerfile or an image to a cached artifact: build → image id → cache? → convert → verify → keep. One process
 * converts an image at a time; others wait and then find it in the cache. Nothing is left behind on any way out.
 * @throws what the layers below throw; `PlatformMismatch` before anything heavy.
 */
export async function pack(request: PackRequest, tools: PackTools): Promise<Packed> {
  const { cache, observer, signal } = tools;
  await using scratch = await cache.scratch({ signal });
  const image = await obtainImage(request, tools, scratch);
  if (request.form === 'smolmachine') requireOurPlatform(image);
  const key = keyOf(image.id);
  const expected = { imageId: image.id, platform: platformOf(image) };

  await using _held = await cache.hold(key);
  const find = async () => {
    const found = await cache.lookup(request.form, key, expected);
    if (found.state === 'damaged') {
      observer.note({ kind: 'damaged', path: cache.entryPath(request.form, key), reason: found.reason });
    }
    return found.state === 'hit' ? found.entry : undefined;
  };
  const known = request.anew ? undefined : await find();
  if (known !== undefined) return { entry: known, cached: true };

  const asked = new Date().toISOString();
  await using _only = await cache.lock(key, {
    signal,
    onWait: (pid) => observer.note({ kind: 'waiting', pid }),
  });
  // Whoever was waited for has most likely made just this.
  const fresh = await find();
  if (fresh !== undefined && (!request.anew || fresh.record.created > asked))
    return { entry: fresh, cached: true };

  await ensureSpace(cache.tree.root, neededBytes(request.form, image.size), 'the conversion');
  const convert = request.registry === 'container' ? convertThroughContainer : convertThroughEmbedded;
  const made = await convert({ ...tools, request, image, scratch, repository: 'claude-bottle', tag: key });
  const entry = await cache.publish(request.form, key, made.path, {
    ...made.record,
    image: { id: image.id, reference: image.reference },
    platform: platformOf(image),
  });
  return { entry, cached: false };
}

async function obtainImage(
  request: PackRequest,
  tools: PackTools,
  scratch: Scratch,
): Promise<InspectedImage> {
  const { engine, observer, signal } = tools;
  const { source } = request;
  if (source.kind === 'image') {
    return observer.step('inspect', () => inspectImage(engine, source.reference, { signal }));
  }
  return observer.step('build', async () => {
    const id = await buildImage(engine, {
      ...source.build,
      scratch,
      signal,
      ...(request.onBuildLine === undefined ? {} : { onLine: request.onBuildLine }),
    });
    return { ...(await inspectImage(engine, id, { signal })), reference: source.build.tag };
  });
}

/** OCI's spelling of what this machine runs: `linux/amd64`. */
export function hostPlatform(): string {
  return `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`;
}

function platformOf(image: InspectedImage): string {
  return `${image.os}/${image.architecture}`;
}

function requireOurPlatform(image: InspectedImage): void {
  if (platformOf(image) === hostPlatform()) return;
  throw new PlatformMismatch({ reference: image.reference, image: platformOf(image), host: hostPlatform() });
}

/**
 * Room for a conversion: the layers in the store and, at worst, once more in the result; smolvm keeps the image twice
 * more while it works (its machine's disk and its staging directory).
 */
function neededBytes(form: EntryForm, imageBytes: number): number {
  return imageBytes * (form === 'oci' ? 2 : 4) + 64 * 1024 * 1024;
}
