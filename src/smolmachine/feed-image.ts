import { chooseFeeders } from '../engine/feed/choose.ts';
import type { FeederName } from '../engine/feed/feeder.ts';
import { type Source, SourceHistory } from '../engine/feed/history.ts';
import { sharesLoopback } from '../engine/feed/loopback.ts';
import { runFeeders } from '../engine/feed/run-feeders.ts';
import type { FedImage } from '../oci/image.ts';
import { LayerStore } from '../oci/layer-store.ts';
import { EmbeddedRegistry } from '../oci/registry/embedded-registry.ts';
import type { Conversion } from './conversion.ts';

/** An image whose layers are in a store: the shared one, or for an exported layer one that goes with the scratch. */
export interface Fed {
  readonly image: FedImage;
  readonly feeder: FeederName;
  readonly store: LayerStore;
}

/**
 * Gets an image's layers out of the engine and into a store, by the way that is quickest here or the one that was asked
 * for. Its registry takes a push and shows nothing.
 */
export async function feedImage(conversion: Conversion): Promise<Fed> {
  const store = new LayerStore(conversion.cache.tree.layersRoot);
  // Two exports of one image may well be the same bytes: what one conversion removes must not be another's.
  const transient = new LayerStore(conversion.scratch.file('exported'), { durable: false });
  const { engine, image, scratch, observer, signal } = conversion;
  await using registry = await EmbeddedRegistry.start({
    repository: conversion.repository,
    tag: conversion.tag,
  });
  const choice = await choose(conversion, store, registry);
  observer.note({ kind: 'feeder', ...choice });
  const fed = await observer.step('feed', (report) => {
    let bytes = 0;
    const onBytes = (count: number) => report({ bytes: (bytes += count) });
    const context = { engine, image, store, transient, scratch, registry, onBytes, signal };
    return runFeeders(choice.order, context, (fallback) => {
      bytes = 0;
      observer.note({ kind: 'fallback', ...fallback });
    });
  });
  return { ...fed, store: fed.feeder === 'export' ? transient : store };
}

async function choose(conversion: Conversion, store: LayerStore, registry: EmbeddedRegistry) {
  const { engine, image, request, scratch, signal } = conversion;
  const history = new SourceHistory(conversion.cache.tree.sourcesRoot, scratch.path);
  const builds = await history.note(sourceOf(conversion), image.id);
  if (request.feeder !== 'auto') return { order: [request.feeder], reason: 'asked for with --feeder' };
  const { store: kind, version } = await engine.info();
  const known = await Promise.all(image.layers.map((layer) => store.has(layer)));
  const knownLayers = known.filter(Boolean).length;
  const complete = knownLayers === image.layers.length;
  return chooseFeeders({
    store: kind,
    version,
    // Nothing has to be moved then, so it does not matter.
    sharesLoopback: !complete && (await sharesLoopback(engine, registry, { scratch, signal })),
    knownLayers,
    layers: image.layers.length,
    builds,
    tagged: image.tags.length > 0,
  });
}

/** What tells this source of images from others. */
function sourceOf({ engine, request: { source } }: Conversion): Source {
  const where = engine.endpoint ?? engine.command;
  if (source.kind === 'image') return [where, 'image', source.shownAs ?? source.reference];
  const { context, dockerfile = '', target = '' } = source.build;
  return [where, 'build', context, dockerfile, target];
}
