import { EngineCommandFailed } from '../../engine/errors.ts';
import { isGone } from '../../engine/container.ts';
import { isIdle } from '../../engine/container-state.ts';
import { isNothingThere } from '../../engine/container-text.ts';
import { BottleExists, BottleGone, BottleNotRunning, BottlePathMissing } from '../errors.ts';

/** Docker's words for a container that is being removed (moby, daemon/logs.go). */
const isGoing = /dead or marked for removal/i;

/** An engine's failure as what it means for a bottle; what means nothing more stays as it is. */
export function failureOfBottle(error: unknown, slug: string, path?: string): unknown {
  if (!(error instanceof EngineCommandFailed)) return error;
  const words = error.fields.words ?? '';
  if (isGone(words) || isGoing.test(words)) return new BottleGone({ slug }, { cause: error });
  if (isIdle(words)) return new BottleNotRunning({ slug }, { cause: error });
  if (path !== undefined && isNothingThere(words))
    return new BottlePathMissing({ slug, path }, { cause: error });
  if (/is already in use|name .* is in use/i.test(words)) return new BottleExists({ slug }, { cause: error });
  return error;
}

/** Runs work on a bottle and says in a bottle's terms how it failed. */
export async function inTermsOf<T>(slug: string, work: () => Promise<T>, path?: string): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw failureOfBottle(error, slug, path);
  }
}
