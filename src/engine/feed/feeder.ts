import type { FedImage } from '../../oci/image.ts';
import type { LayerStore } from '../../oci/layer-store.ts';
import type { EmbeddedRegistry } from '../../oci/registry/embedded-registry.ts';
import type { Scratch } from '../../process/scratch.ts';
import type { Engine } from '../engine.ts';
import type { InspectedImage } from '../image.ts';

/** `known` moves nothing: every layer is in the store already. */
export type FeederName = 'known' | 'push' | 'save' | 'export';

export interface FeedContext {
  readonly engine: Engine;
  readonly image: InspectedImage;
  readonly store: LayerStore;
  /** For a layer that no other image could share: it goes with this conversion. */
  readonly transient: LayerStore;
  readonly scratch: Scratch;
  readonly registry: EmbeddedRegistry;
  /** Called with the number of bytes that have just arrived from the engine. */
  readonly onBytes?: (count: number) => void;
  readonly signal?: AbortSignal;
}

/** One way of getting an image out of the engine and into the layer store. */
export interface Feeder {
  readonly name: FeederName;
  /**
   * Every layer of the returned image is in the store, verified against what the engine says of the image; the exported
   * one is in the transient store.
   */
  feed(context: FeedContext): Promise<FedImage>;
}
