import { join } from 'node:path';
import type { Backend, Bottle } from '../backends/backend.ts';
import { isProvablyDead } from '../process/owner.ts';
import { backendOf } from './backend-of.ts';
import { askDesk } from './desk.ts';
import { BottleNotRunning, SlugUnknown } from './errors.ts';
import type { Request } from './messages.ts';
import { type BottlePlaces, bottlePlaces, knownSlugs, type Places } from './places.ts';
import { type BottleRecord, readRecord } from './record.ts';

/** A bottle of this host, as a command finds it. */
export interface KnownBottle {
  readonly record: BottleRecord;
  readonly places: BottlePlaces;
}

/** Every bottle that has a record, the oldest first. */
export async function knownBottles(places: Places): Promise<readonly KnownBottle[]> {
  const found = await Promise.all(
    (await knownSlugs(places)).map(async (slug) => {
      const own = bottlePlaces(places, slug);
      const record = await readRecord(own);
      return record === undefined ? [] : [{ record, places: own }];
    }),
  );
  return found.flat().sort((a, b) => a.record.startedAt.localeCompare(b.record.startedAt));
}

/** The bottle of that name. @throws SlugUnknown */
export async function knownBottle(places: Places, slug: string): Promise<KnownBottle> {
  const all = await knownBottles(places);
  const found = all.find(({ record }) => record.slug === slug);
  if (found !== undefined) return found;
  const there = all.filter(({ record }) => record.phase !== 'ended').map(({ record }) => record.slug);
  throw new SlugUnknown({ slug, known: there });
}

/** The one that is meant when none is named: the only one that runs. @throws SlugUnknown */
export async function onlyRunning(places: Places): Promise<KnownBottle> {
  const running = (await knownBottles(places)).filter(({ record }) => record.phase === 'running');
  const [only] = running;
  if (only !== undefined && running.length === 1) return only;
  throw new SlugUnknown({ slug: '', known: running.map(({ record }) => record.slug) });
}

/** Whether its supervisor may be alive. */
export async function isSupervised({ record }: KnownBottle): Promise<boolean> {
  return (record.phase === 'making' || record.phase === 'running') && !(await isProvablyDead(record.owner));
}

/** Asks a bottle's supervisor. @throws BottleNotRunning when nobody answers, or the failure that it met. */
export async function ask({ record, places }: KnownBottle, request: Request): Promise<unknown> {
  const answer = await askDesk(places.supervisorSocket, request);
  if (answer === undefined) throw new BottleNotRunning({ slug: record.slug, state: record.phase });
  return answer;
}

/** The backend that a bottle is in. */
export function backendFor({ record, places }: KnownBottle, signal?: AbortSignal): Promise<Backend> {
  return backendOf(record, { places: () => places, ...(signal === undefined ? {} : { signal }) });
}

/** A handle on what the bottle is made of. */
export async function handleOn(known: KnownBottle, signal?: AbortSignal): Promise<Bottle> {
  return (await backendFor(known, signal)).bottle(known.record.slug);
}

/** Where one process at a time works on what is left of a bottle. */
export function leftoverLock(places: Places, slug: string): string {
  return join(places.state, 'bottles', `.${slug}.lock`);
}
