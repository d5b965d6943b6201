import { LayerMissing } from '../../oci/errors.ts';
import type { Feeder } from './feeder.ts';

/**
 * For an image whose every layer came earlier, by whatever way: the engine's own description of it is all that is
 * needed. Fails when a layer was pruned meanwhile.
 */
export const knownFeeder: Feeder = {
  name: 'known',
  async feed({ image, store }) {
    for (const diffId of image.layers) {
      if (!(await store.has(diffId))) throw new LayerMissing({ diffId });
    }
    return { config: image.config, layers: image.layers };
  },
};
