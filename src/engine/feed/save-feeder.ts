import { signalOf } from '../engine.ts';
import { saveImage } from '../image.ts';
import type { Feeder } from './feeder.ts';
import { receive } from './receive.ts';
import { readSavedImage } from './saved-image.ts';

/** The engine's own archive, taken apart as it comes: works with every engine, wherever it runs. */
export const saveFeeder: Feeder = {
  name: 'save',
  async feed({ engine, image, store, scratch, onBytes, signal }) {
    const { store: kind } = await engine.info();
    const { os, architecture } = image;
    const transfer = await saveImage(engine, image.id, {
      // Only the containerd store can hold more than one platform of an image.
      ...(kind === 'containerd' ? { platform: { os, architecture } } : {}),
      ...signalOf(signal),
    });
    return receive(
      transfer,
      (bytes) => readSavedImage(bytes, { image, store, scratch: scratch.path, ...signalOf(signal) }),
      onBytes,
    );
  },
};
