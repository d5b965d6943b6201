import type { Digest } from '../oci/digest.ts';
import type { CacheEntry, CacheKey } from './entry.ts';

/** Which entries go. An entry goes when any of the rules given says so; without a rule none does. */
export interface PruneRules {
  /** Not used for longer than this. */
  readonly olderThanMs?: number;
  /** The least recently used, until entries and the layers they were made of take no more than this. */
  readonly maxBytes?: number;
  /** All but this many of the most recently used. */
  readonly keep?: number;
  readonly all?: boolean;
}

export interface Condemned {
  /** Least recently used first. */
  readonly remove: readonly CacheEntry[];
  /** What the rules name, but somebody uses. */
  readonly inUse: readonly CacheEntry[];
}

/**
 * Applies the rules. Bytes of a layer count once, however many entries share it. An entry in use takes its room and is
 * passed over.
 * @param layerBytes of each stored layer; one that is not stored takes no room.
 */
export function condemn(
  entries: readonly CacheEntry[],
  layerBytes: ReadonlyMap<Digest, number>,
  context: { readonly rules: PruneRules; readonly inUse: ReadonlySet<CacheKey>; readonly now: Date },
): Condemned {
  const { rules, inUse, now } = context;
  const oldestFirst = [...entries].sort(
    (a, b) => a.record.lastUsed.localeCompare(b.record.lastUsed) || a.path.localeCompare(b.path),
  );
  const isNamed = (entry: CacheEntry, place: number) =>
    rules.all === true ||
    (rules.keep !== undefined && place < oldestFirst.length - rules.keep) ||
    (rules.olderThanMs !== undefined &&
      now.getTime() - Date.parse(entry.record.lastUsed) > rules.olderThanMs);
  const named = new Set(oldestFirst.filter(isNamed));
  const isFree = (entry: CacheEntry) => !inUse.has(entry.record.key);
  if (rules.maxBytes !== undefined) {
    const room = new Room(
      entries.filter((entry) => !(named.has(entry) && isFree(entry))),
      layerBytes,
    );
    for (const entry of oldestFirst) {
      if (room.bytes <= rules.maxBytes) break;
      if (named.has(entry)) continue;
      named.add(entry);
      if (isFree(entry)) room.release(entry);
    }
  }
  const chosen = oldestFirst.filter((entry) => named.has(entry));
  return { remove: chosen.filter(isFree), inUse: chosen.filter((entry) => !isFree(entry)) };
}

/** Bytes that a set of entries takes, with the layers they share. */
class Room {
  bytes = 0;
  readonly #users = new Map<Digest, number>();
  readonly #layerBytes: ReadonlyMap<Digest, number>;

  constructor(entries: readonly CacheEntry[], layerBytes: ReadonlyMap<Digest, number>) {
    this.#layerBytes = layerBytes;
    for (const { record } of entries) {
      this.bytes += record.sizes.artifact;
      for (const layer of new Set(record.layers)) {
        const users = this.#users.get(layer) ?? 0;
        if (users === 0) this.bytes += layerBytes.get(layer) ?? 0;
        this.#users.set(layer, users + 1);
      }
    }
  }

  release({ record }: CacheEntry): void {
    this.bytes -= record.sizes.artifact;
    for (const layer of new Set(record.layers)) {
      const users = (this.#users.get(layer) ?? 0) - 1;
      this.#users.set(layer, users);
      if (users === 0) this.bytes -= this.#layerBytes.get(layer) ?? 0;
    }
  }
}
