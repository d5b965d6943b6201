import type { InspectedImage } from '../../engine/image.ts';
import { Cache } from '../../smolmachine/cache.ts';
import { keyOf } from '../../smolmachine/entry.ts';
import { reapLeftovers } from '../../smolmachine/leftovers.ts';
import { pack } from '../../smolmachine/pack.ts';
import type { Smolvm } from '../../smolvm/find.ts';
import type { PrepareTools } from '../backend.ts';

/**
 * The artifact of an image, out of the cache or packed now. Nobody prunes it from there before `held` is disposed: until
 * its machine is made, which has files of its own.
 * @returns its path.
 * @throws what `pack` does.
 */
export async function prepareArtifact(
  smolvm: Smolvm,
  { id, reference }: Pick<InspectedImage, 'id' | 'reference'>,
  { engine, cacheRoot, registry, observer, held, signal }: PrepareTools,
): Promise<string> {
  const cache = await Cache.open(cacheRoot);
  await reapLeftovers(cache.tree, signal);
  held.use(await cache.hold(keyOf(id)));
  const { entry } = await pack(
    {
      // By its id: its name may have moved on.
      source: { kind: 'image', reference: id, shownAs: reference },
      form: 'smolmachine',
      registry,
      feeder: 'auto',
      anew: false,
    },
    { engine, cache, smolvm: Promise.resolve(smolvm), observer, signal },
  );
  return entry.path;
}
