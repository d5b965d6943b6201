import { mkdir } from 'node:fs/promises';
import type { Bottle } from '../backends/backend.ts';
import { type Collected, collectWork } from '../workspace/collect.ts';
import type { Place } from '../workspace/place.ts';
import type { Identity } from '../workspace/workspace.ts';
import type { KnownBottle } from './host.ts';
import type { WorkRecord } from './record.ts';
import { revived } from './revive.ts';

/** What came out of a bottle, or why it did not. */
export interface Taken {
  readonly work?: Collected;
  readonly summary?: WorkRecord;
  /** Why the bottle must not go yet: something is in it that is nowhere else. */
  readonly keptBecause?: string;
  /** What went wrong on the way, if that is why. */
  readonly failure?: Error;
}

export interface TakeOptions {
  /** Also what is not committed, as one more commit. */
  readonly uncommitted: boolean;
  /** Bytes of commits that are taken at most, instead of the default. */
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

/** Takes the work out of a bottle that runs. @throws what `collectWork` does */
export async function takeFromRunning(
  bottle: Bottle,
  { record, places }: KnownBottle,
  options: TakeOptions,
): Promise<Taken> {
  const { workspace, base, slug } = record;
  if (workspace === undefined || base === undefined) return {};
  await mkdir(places.scratch, { recursive: true, mode: 0o700 });
  const identity = identityOf(record.gitUser);
  const work = await collectWork(placeIn(bottle), {
    slug,
    workspace,
    base,
    uncommitted: options.uncommitted,
    scratchDirectory: places.scratch,
    ...(options.maxBytes === undefined ? {} : { limits: { bundleBytes: options.maxBytes } }),
    ...(workspace.kind === 'folder' ? { folderRepository: places.folderRepository } : {}),
    ...(identity === undefined ? {} : { identity }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  return { work, summary: summaryOf(work), ...leftInside(work) };
}

/**
 * Takes the work out at a bottle's end. What goes wrong is no reason to lose the work, so it is told, not thrown: the
 * bottle is then to be kept.
 */
export async function takeAtEnd(bottle: Bottle, known: KnownBottle, options: TakeOptions): Promise<Taken> {
  return orKept(() => takeFromRunning(bottle, known, options), options.signal);
}

/** As `takeAtEnd`, of a bottle that does not run any more. */
export async function takeFromEnded(
  bottle: Bottle,
  known: KnownBottle,
  options: TakeOptions,
): Promise<Taken> {
  return orKept(
    () => revived(bottle, known.places, () => takeFromRunning(bottle, known, options)),
    options.signal,
  );
}

async function orKept(take: () => Promise<Taken>, signal: AbortSignal | undefined): Promise<Taken> {
  try {
    return await take();
  } catch (error) {
    signal?.throwIfAborted();
    const failure = error instanceof Error ? error : new Error(String(error));
    return { keptBecause: 'its work could not be taken out', failure };
  }
}

function leftInside({ uncommittedLeft }: Collected): { keptBecause?: string } {
  if (uncommittedLeft === 0) return {};
  const files = uncommittedLeft === 1 ? '1 file' : `${uncommittedLeft} files`;
  const differ = uncommittedLeft === 1 ? 'differs' : 'differ';
  return { keptBecause: `${files} in it ${differ} from its last commit` };
}

function summaryOf(work: Collected): WorkRecord {
  return {
    ...(work.branch === undefined ? {} : { branch: work.branch }),
    commits: work.commits?.count ?? 0,
    files: work.totals?.files ?? 0,
  };
}

function identityOf({
  name,
  email,
}: {
  name?: string | undefined;
  email?: string | undefined;
}): Identity | undefined {
  return name === undefined || email === undefined ? undefined : { name, email };
}

/** The bottle, as far as the workspace needs one. */
function placeIn(bottle: Bottle): Place {
  return {
    exec: (argv, options) => bottle.exec(argv, options),
    stream: (argv, options) => bottle.stream(argv, options),
    copyOut: (path, signal) => bottle.copyOut(path, signal),
  };
}
