import { ContainerRegistry } from '../engine/container-registry.ts';
import { Digest } from '../oci/digest.ts';
import { fit } from '../schema.ts';
import type { Conversion, Converted } from './conversion.ts';
import { packVerified } from './pack-artifact.ts';

/**
 * Through a registry in a container of the engine's: run, tag, push, pack, gone. The image is pushed as it is, so
 * smolvm gets all of its layers and merges them itself.
 */
export async function convertThroughContainer(conversion: Conversion): Promise<Converted> {
  const { engine, image, observer, scratch, signal } = conversion;
  await using registry = await observer.step('registry', () =>
    ContainerRegistry.start(engine, { scratch, signal }),
  );
  const reference = await observer.step('push', () => registry.push(image, conversion.tag));
  if (image.layers.length > 1) observer.note({ kind: 'merged-layers', layers: image.layers.length });
  const { path, artifact, smolvmVersion } = await packVerified(conversion, { reference });
  return {
    path,
    record: {
      configDigest: fit(Digest, artifact.manifest.digest),
      layers: [],
      smolvmVersion,
      sha256: artifact.sha256,
    },
  };
}
