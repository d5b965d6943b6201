import { failure } from '../../failure.ts';
import type { Digest } from '../digest.ts';

/** The engine's push ended without everything an image needs: no manifest under the tag, or a blob that never came. */
export class PushIncomplete extends failure('PushIncomplete')<{ reference: string; missing: string }> {}

/** The push brought no runnable image for the wanted platform, or several and nothing to choose by. */
export class PushedPlatformUnclear extends failure('PushedPlatformUnclear')<{
  reference: string;
  wanted?: string;
  offered: readonly string[];
}> {}

/** The layers that were pushed are not the ones that the image's configuration names. */
export class PushedLayersDiffer extends failure('PushedLayersDiffer')<{
  reference: string;
  expected: readonly Digest[];
  pushed: readonly Digest[];
}> {}

export type RegistryFailure = PushIncomplete | PushedPlatformUnclear | PushedLayersDiffer;
