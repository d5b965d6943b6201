import { AnyFailure } from '../../failure.ts';
import type { FedImage } from '../../oci/image.ts';
import { DeadlineExceeded, Interrupted } from '../../process/errors.ts';
import { EngineDenied, EngineMissing, EngineUnreachable, FeedFailed } from '../errors.ts';
import { exportFeeder } from './export-feeder.ts';
import type { FeedContext, Feeder, FeederName } from './feeder.ts';
import { knownFeeder } from './known-feeder.ts';
import { pushFeeder } from './push-feeder.ts';
import { saveFeeder } from './save-feeder.ts';

export interface Fallback {
  readonly from: FeederName;
  /** What is tried next; undefined when nothing is left. */
  readonly to: FeederName | undefined;
  readonly error: unknown;
}

export const feeders: Readonly<Record<FeederName, Feeder>> = {
  known: knownFeeder,
  push: pushFeeder,
  save: saveFeeder,
  export: exportFeeder,
};

/**
 * Tries the feeders in order until one delivers. Each that fails is reported and leaves nothing behind but whole
 * layers, which the next one need not fetch again.
 * @throws FeedFailed with every reason when none delivers; at once when the engine is gone, the disk is full, or
 *   `signal` fires.
 */
export async function runFeeders(
  order: readonly FeederName[],
  context: FeedContext,
  onFallback: (fallback: Fallback) => void = () => undefined,
): Promise<{ image: FedImage; feeder: FeederName }> {
  const attempts: { feeder: string; reason: string }[] = [];
  let last: unknown;
  for (const [index, name] of order.entries()) {
    try {
      return { image: await feeders[name].feed(context), feeder: name };
    } catch (error) {
      context.signal?.throwIfAborted();
      if (isFinal(error)) throw error;
      attempts.push({ feeder: name, reason: reasonOf(error) });
      last = error;
      onFallback({ from: name, to: order[index + 1], error });
    }
  }
  // One way that was tried has one reason, which says more by itself.
  if (attempts.length === 1 && last instanceof AnyFailure) throw last;
  throw new FeedFailed({ reference: context.image.reference, attempts }, { cause: last });
}

/** What no other way out of the engine mends. */
function isFinal(error: unknown): boolean {
  if (error instanceof Interrupted || error instanceof DeadlineExceeded) return true;
  if (error instanceof EngineMissing || error instanceof EngineUnreachable || error instanceof EngineDenied)
    return true;
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

/** For a person, in one line: the engine's words where there are any. */
function reasonOf(error: unknown): string {
  if (error instanceof AnyFailure) {
    const { words, reason } = error.fields as { words?: unknown; reason?: unknown };
    const said = [words, reason].find((text) => typeof text === 'string');
    return said ?? error.message;
  }
  return error instanceof Error ? error.message : String(error);
}
