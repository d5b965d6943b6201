import { openFlatImage } from '../oci/flat-image.ts';
import type { FlatImage } from '../oci/image.ts';
import { writeLayout } from '../oci/layout.ts';
import { EmbeddedRegistry } from '../oci/registry/embedded-registry.ts';
import type { Conversion, Converted } from './conversion.ts';
import { feedImage } from './feed-image.ts';
import { packVerified } from './pack-artifact.ts';
import { asNoSpace } from './space.ts';

/**
 * Through our own hands: the layers come out of the engine into the store, are flattened into one without being copied,
 * and are served from this process to smolvm, or written as an OCI layout.
 */
export async function convertThroughEmbedded(conversion: Conversion): Promise<Converted> {
  const { cache, observer, request, scratch, signal } = conversion;
  try {
    const { image, feeder, store } = await feedImage(conversion);
    const smolvm = await conversion.smolvm;
    // Compressing takes longer than it saves on loopback, so only for a smolvm that cannot do without.
    const compression = smolvm === undefined || smolvm.can('plainLayers') ? 'none' : 'gzip';
    await using flat = await observer.step('flatten', (report) => {
      let bytes = 0;
      const onBytes = (count: number) => report({ bytes: (bytes += count) });
      return openFlatImage(image, store, { compression, scratch: scratch.path, signal, onBytes });
    });
    const made =
      request.form === 'oci' ? await layOut(conversion, flat) : await serveToSmolvm(conversion, flat);
    return {
      path: made.path,
      record: {
        ...made.record,
        configDigest: flat.configDigest,
        manifestDigest: flat.manifestDigest,
        layerDigest: flat.layer.digest,
        layers: feeder === 'export' ? [] : [...image.layers],
        ...(feeder === 'known' ? {} : { feeder }),
        sizes: { image: flat.plainSize },
      },
    };
  } catch (error) {
    throw await asNoSpace(error, cache.tree.root, "the image's layers");
  }
}

async function serveToSmolvm(conversion: Conversion, flat: FlatImage) {
  await using registry = await EmbeddedRegistry.start({
    repository: conversion.repository,
    tag: conversion.tag,
  });
  let served = 0;
  let tell: ((bytes: number, totalBytes: number) => void) | undefined;
  registry.publish(flat, { onBytes: (count) => tell?.((served += count), flat.layer.size) });
  try {
    const { path, artifact, smolvmVersion } = await packVerified(conversion, {
      reference: registry.reference,
      registry: { host: registry.host, ...registry.reader },
      layerBytes: flat.plainSize,
      onServed: (listener) => (tell = listener),
      configDigest: flat.configDigest,
    });
    return { path, record: { smolvmVersion, sha256: artifact.sha256 } };
  } catch (error) {
    // What smolvm saw as a broken transfer may have begun on our side, and then that is the news.
    throw registry.failure ?? error;
  }
}

async function layOut({ scratch, observer, image, signal }: Conversion, flat: FlatImage) {
  const path = scratch.file('layout');
  await observer.step('layout', (report) => {
    let bytes = 0;
    return writeLayout(flat, path, {
      refName: image.reference,
      signal,
      onBytes: (count: number) => report({ bytes: (bytes += count), totalBytes: flat.layer.size }),
    });
  });
  return { path, record: {} };
}
