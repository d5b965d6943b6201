import { AnyFailure } from '../failure.ts';
import { type BackendName, backendNames } from './names.ts';

/** Why a bottle gets the backend that it gets. */
export type BackendReason =
  /** Somebody said so. `saidBy`, for people: `--backend`, `bottle work`. */
  | { readonly kind: 'said'; readonly saidBy: string }
  /** Something else that was said has a meaning for this one alone. */
  | { readonly kind: 'needed'; readonly by: string }
  /** It is the best, and works here. */
  | { readonly kind: 'preferred' }
  /** What would be better cannot work here. */
  | { readonly kind: 'fallback'; readonly failures: readonly Unusable[] };

export interface Unusable {
  readonly name: BackendName;
  /** Why it cannot work here. */
  readonly failure: AnyFailure;
}

export interface Wishes {
  readonly said?: { readonly name: BackendName; readonly by: string };
  readonly needed?: { readonly name: BackendName; readonly by: string };
}

export interface Chosen<Found> {
  readonly name: BackendName;
  readonly reason: BackendReason;
  readonly found: Found;
}

/**
 * The backend that somebody wants, else the first of `backendNames` that works here. What was asked for and cannot work
 * is an error and never replaced: whoever asks for a machine would not want a container.
 * @param seek finds out whether one works, cheaply; throws the failure that says why not.
 * @throws what `seek` threw for the one that was wanted, or for the last.
 */
export async function chooseBackend<Found>(
  { said, needed }: Wishes,
  seek: (name: BackendName) => Promise<Found>,
  signal: AbortSignal,
): Promise<Chosen<Found>> {
  if (said !== undefined) {
    return {
      name: said.name,
      reason: { kind: 'said', saidBy: said.by },
      found: await seek(said.name),
    };
  }
  if (needed !== undefined) {
    return { name: needed.name, reason: { kind: 'needed', by: needed.by }, found: await seek(needed.name) };
  }
  const failures: Unusable[] = [];
  for (const name of backendNames) {
    try {
      const found = await seek(name);
      return {
        name,
        reason: failures.length === 0 ? { kind: 'preferred' } : { kind: 'fallback', failures },
        found,
      };
    } catch (failure) {
      signal.throwIfAborted();
      if (name === backendNames.at(-1) || !(failure instanceof AnyFailure)) throw failure;
      failures.push({ name, failure });
    }
  }
  throw new TypeError('there is no backend');
}
