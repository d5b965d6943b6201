import { type InspectedImage, inspectImage } from '../engine/image.ts';
import type { Scratch } from '../process/scratch.ts';
import { buildOnce } from './build-once.ts';
import type { Conversion, Converted, PackRequest, PackTools } from './conversion.ts';
import { type CacheEntry, type EntryForm, keyOf } from './entry.ts';
import { platformOf, requireOurPlatform } from './platform.ts';
import { ensureSpace } from './space.ts';

export interface Packed {
  readonly entry: CacheEntry;
  /** Whether the cache had it already. */
  readonly cached: boolean;
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
  // What smolvm merged itself may hold deleted files again, and must not pass for a flattened image.
  const expected = { imageId: image.id, platform: platformOf(image), flat: request.registry === 'embedded' };

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
  const made = await convert({ ...tools, request, image, scratch, repository: 'claude-bottle', tag: key });
  const entry = await cache.publish(request.form, key, made.path, {
    ...made.record,
    image: { id: image.id, reference: image.reference },
    platform: platformOf(image),
  });
  return { entry, cached: false };
}

/** What converts is loaded only now: a hit needs none of it. */
async function convert(conversion: Conversion): Promise<Converted> {
  if (conversion.request.registry === 'container') {
    return (await import('./convert-container.ts')).convertThroughContainer(conversion);
  }
  return (await import('./convert-embedded.ts')).convertThroughEmbedded(conversion);
}

async function obtainImage(
  request: PackRequest,
  tools: PackTools,
  scratch: Scratch,
): Promise<InspectedImage> {
  const { cache, engine, observer, signal } = tools;
  const { source } = request;
  if (source.kind === 'image') {
    const { reference, shownAs = reference } = source;
    return observer.step('inspect', async () => ({
      ...(await inspectImage(engine, reference, { signal })),
      reference: shownAs,
    }));
  }
  return observer.step('build', () =>
    buildOnce(source.build, {
      engine,
      tree: cache.tree,
      scratch,
      signal,
      ...(request.onBuildLine === undefined ? {} : { onLine: request.onBuildLine }),
    }),
  );
}

/**
 * Room for a conversion: the layers in the store and, at worst, once more in the result; smolvm keeps the image twice
 * more while it works (its machine's disk and its staging directory).
 */
function neededBytes(form: EntryForm, imageBytes: number): number {
  return imageBytes * (form === 'oci' ? 2 : 4) + 64 * 1024 * 1024;
}
