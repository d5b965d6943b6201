import { join } from 'node:path';
import type { Bottle } from '../backends/backend.ts';
import { acquireLock, clearDeadLocks } from '../process/lock.ts';
import { currentOwner, isProvablyDead } from '../process/owner.ts';
import { handleOn, type KnownBottle, knownBottles, leftoverLock } from './host.ts';
import type { Places } from './places.ts';
import {
  type BottleRecord,
  readRecord,
  removeDrafts,
  removeRecord,
  removeRuntime,
  writeRecord,
} from './record.ts';
import { type Taken, takeFromEnded } from './take-work.ts';

/** How many bottles that have ended are remembered, with their gate's log. */
const remembered = 20;
/** An engine that does not answer must not hold up a command that has nothing to do with it. */
const patienceMs = 5_000;

/** A bottle whose supervisor was killed, and what became of it. */
export interface Reaped {
  readonly record: BottleRecord;
  /** The work that was saved from it, if there was any. */
  readonly taken?: Taken;
  /** It could not be removed now, and stays for the next command. */
  readonly error?: unknown;
}

/**
 * Removes what supervisors that are provably dead left behind. Work that was in their bottles is saved first, as it
 * would have been at their end. What cannot be removed now is tried again by the next command.
 */
export async function reapBottles(places: Places, signal: AbortSignal): Promise<readonly Reaped[]> {
  const root = join(places.state, 'bottles');
  await removeDrafts(root);
  await clearDeadLocks(root);
  const all = await knownBottles(places);
  const reaped: Reaped[] = [];
  for (const known of all) {
    const { phase, owner } = known.record;
    if (phase !== 'making' && phase !== 'running') continue;
    if (!(await isProvablyDead(owner))) continue;
    signal.throwIfAborted();
    const result = await reapOne(known, places, signal);
    if (result !== undefined) reaped.push(result);
  }
  await forget(all.filter(({ record }) => record.phase === 'ended'));
  return reaped;
}

async function reapOne(known: KnownBottle, places: Places, signal: AbortSignal): Promise<Reaped | undefined> {
  // Others that saw the same dead supervisor leave it to the first.
  await using lock = await acquireLock(leftoverLock(places, known.record.slug), { waitMs: 0, signal }).catch(
    () => undefined,
  );
  const record = lock === undefined ? undefined : await readRecord(known.places);
  if (record === undefined || record.owner.pid !== known.record.owner.pid) return undefined;
  try {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]);
    const bottle = await handleOn(known, patience);
    const taken = await saveWork(bottle, { ...known, record }, signal);
    if (taken?.keptBecause !== undefined) {
      await writeRecord(known.places, { ...record, phase: 'kept', keptBecause: taken.keptBecause });
      return { record, taken };
    }
    await bottle.remove();
    if (record.phase === 'making') await removeRecord(known.places);
    else await writeEnded(known, record, taken);
    return { record, ...(taken === undefined ? {} : { taken }) };
  } catch (error) {
    signal.throwIfAborted();
    return { record, error };
  }
}

/** A bottle whose command never ran has no work in it; neither has one that is gone. */
async function saveWork(bottle: Bottle, known: KnownBottle, signal: AbortSignal): Promise<Taken | undefined> {
  const { phase, workspace } = known.record;
  if (phase !== 'running' || workspace === undefined) return undefined;
  if ((await bottle.status(signal)) === undefined) return undefined;
  return await takeFromEnded(bottle, known, { uncommitted: true, signal });
}

async function writeEnded(
  { places }: KnownBottle,
  record: BottleRecord,
  taken: Taken | undefined,
): Promise<void> {
  await removeRuntime(places);
  await writeRecord(places, {
    ...record,
    owner: await currentOwner(),
    phase: 'ended',
    endedAt: new Date().toISOString(),
    ...(taken?.summary === undefined ? {} : { work: taken.summary }),
  });
}

async function forget(ended: readonly KnownBottle[]): Promise<void> {
  for (const { places } of ended.slice(0, Math.max(0, ended.length - remembered))) await removeRecord(places);
}
