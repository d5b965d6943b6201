import { rm, stat } from 'node:fs/promises';
import type { Digest } from '../oci/digest.ts';
import { LockBusy } from '../process/errors.ts';
import { clearDeadLocks } from '../process/lock.ts';
import type { Scratch } from '../process/scratch.ts';
import type { Cache, Found } from './cache.ts';
import type { CacheEntry, CacheKey } from './entry.ts';
import { pruneCompiled } from './compiled-code.ts';
import { layoutBytes } from './entry-layout.ts';
import { condemn, type PruneRules } from './prune-policy.ts';

/** The side of the layer store that pruning needs. */
export interface PrunableLayers {
  list(): Promise<readonly { readonly diffId: Digest; readonly bytes: number }[]>;
  remove(diffId: Digest): Promise<void>;
}

export interface PrunePolicy extends PruneRules {
  /** Only report. */
  readonly dryRun?: boolean;
  /** The caller's own scratch directory, which does not count as another run. */
  readonly own?: Scratch;
  readonly now?: Date;
  readonly signal?: AbortSignal;
}

export interface PruneReport {
  readonly removed: readonly CacheEntry[];
  /** What the policy would have removed, had it not been in use. */
  readonly keptInUse: readonly CacheEntry[];
  /** Leftovers of killed runs: paths without a record. */
  readonly orphans: readonly string[];
  readonly layersRemoved: readonly { readonly diffId: Digest; readonly bytes: number }[];
  /** Whether unreferenced layers stayed because another run may be using them. */
  readonly layersInUse: boolean;
  /** Of compiled code of other versions of this program. */
  readonly compiledBytes: number;
  readonly freedBytes: number;
}

/**
 * Removes entries by `policy`, least recently used first, then what killed runs left and the stored layers that no
 * remaining entry was made of. Never touches an entry that a live process is making or holds, nor any layer while
 * another run is under way.
 * @throws CacheUnusable, or the reason of `signal`.
 */
export async function prune(cache: Cache, layers: PrunableLayers, policy: PrunePolicy): Promise<PruneReport> {
  const found = await cache.scan();
  const entries = found.flatMap((one) => (one.state === 'entry' ? [one.entry] : []));
  const stored = await layers.list();
  const doomed = condemn(entries, new Map(stored.map(({ diffId, bytes }) => [diffId, bytes])), {
    rules: policy,
    inUse: await keysInUse(cache, entries),
    now: policy.now ?? new Date(),
  });
  const removed: CacheEntry[] = [];
  const keptInUse: CacheEntry[] = [...doomed.inUse];
  for (const entry of doomed.remove) {
    policy.signal?.throwIfAborted();
    const gone = policy.dryRun === true || (await removeEntry(cache, entry, policy));
    (gone ? removed : keptInUse).push(entry);
  }
  const orphans = await removeOrphans(cache, found, policy);
  const unused = await removeUnusedLayers(cache, layers, policy, removed);
  const compiledBytes = await pruneCompiled(cache.tree.compiledRoot, {
    others: true,
    dryRun: policy.dryRun === true,
  });
  if (policy.dryRun !== true) await clearDeadLocks(cache.tree.locksRoot);
  return {
    removed,
    keptInUse,
    orphans: orphans.map(({ path }) => path),
    ...unused,
    compiledBytes,
    freedBytes:
      compiledBytes +
      sum(removed.map(({ record }) => record.sizes.artifact)) +
      sum(orphans.map(({ bytes }) => bytes)) +
      sum(unused.layersRemoved.map(({ bytes }) => bytes)),
  };
}

async function keysInUse(cache: Cache, entries: readonly CacheEntry[]): Promise<Set<CacheKey>> {
  const keys = new Set<CacheKey>();
  for (const key of new Set(entries.map(({ record }) => record.key))) {
    if ((await cache.isLocked(key)) || (await cache.isHeld(key))) keys.add(key);
  }
  return keys;
}

async function removeEntry(cache: Cache, { record }: CacheEntry, policy: PrunePolicy): Promise<boolean> {
  await using lock = await tryLock(cache, record.key);
  if (lock === undefined) return false;
  const now = await cache.record(record.form, record.key);
  if (now === undefined) return true;
  if (now === 'newer') return false;
  // Used or made anew since we chose it: it is not the least recently used one any more.
  if (policy.all !== true && now.lastUsed !== record.lastUsed) return false;
  return await cache.discardUnlessHeld(record.form, record.key);
}

async function removeOrphans(
  cache: Cache,
  found: readonly Found[],
  policy: PrunePolicy,
): Promise<{ path: string; bytes: number }[]> {
  const removed: { path: string; bytes: number }[] = [];
  for (const { state, form, key } of found) {
    if (state !== 'orphan') continue;
    await using lock = await tryLock(cache, key);
    if (lock === undefined || (await cache.record(form, key)) !== undefined) continue;
    // A prune that was killed may have left the record hidden while somebody uses the files.
    if (await cache.isHeld(key)) continue;
    for (const path of await cache.filesOf(form, key)) {
      removed.push({ path, bytes: await bytesOf(path) });
      if (policy.dryRun !== true) await rm(path, { recursive: true, force: true });
    }
  }
  return removed;
}

async function removeUnusedLayers(
  cache: Cache,
  layers: PrunableLayers,
  policy: PrunePolicy,
  removed: readonly CacheEntry[],
): Promise<Pick<PruneReport, 'layersRemoved' | 'layersInUse'>> {
  await using _lock = await cache.lockLayers(policy.signal);
  const gone = new Set(removed.map(({ path }) => path));
  const needed = new Set(
    (await cache.list()).filter(({ path }) => !gone.has(path)).flatMap(({ record }) => record.layers),
  );
  const unused = (await layers.list()).filter(({ diffId }) => !needed.has(diffId));
  if (unused.length > 0 && (await cache.layersInUse(policy.own))) {
    return { layersRemoved: [], layersInUse: true };
  }
  for (const { diffId } of policy.dryRun === true ? [] : unused) await layers.remove(diffId);
  return { layersRemoved: unused.map(({ diffId, bytes }) => ({ diffId, bytes })), layersInUse: false };
}

/** The lock of a key, unless a live process has it. */
export async function tryLock(cache: Cache, key: CacheKey): Promise<AsyncDisposable | undefined> {
  try {
    return await cache.lock(key, { waitMs: 0 });
  } catch (error) {
    if (error instanceof LockBusy) return undefined;
    throw error;
  }
}

async function bytesOf(path: string): Promise<number> {
  const stats = await stat(path);
  return stats.isDirectory() ? layoutBytes(path) : stats.size;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
