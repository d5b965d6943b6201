import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import * as v from 'valibot';
import { MachineAddress } from '../backends/smolmachines/address.ts';
import { isThere, Owner } from '../process/owner.ts';
import { EngineAddress } from '../process/scratch.ts';
import { fit, int, options } from '../schema.ts';
import type { Workspace } from '../workspace/workspace.ts';
import type { BottlePlaces } from './places.ts';

/** Where the work of a bottle came from, and goes back to: as it was looked at when the bottle was made. */
const WorkspaceRecord = v.custom<Workspace>((value) => {
  const { kind, root } = (value ?? {}) as Partial<Workspace>;
  return (kind === 'repository' || kind === 'folder') && typeof root === 'string';
});

/** What came out of a bottle. */
const WorkRecord = v.object({
  branch: v.optional(v.string()),
  commits: int,
  files: int,
});

/**
 * One bottle, as `bottle.json` holds it. No secret is in it. It is written before anything of the bottle exists, so
 * that whoever finds its owner dead knows what there may be to remove.
 */
export const BottleRecord = v.object({
  format: v.literal(1),
  slug: v.string(),
  version: v.string(),
  agent: v.string(),
  bottles: v.array(v.string()),
  backend: v.string(),
  /** Where its image is. */
  engine: EngineAddress,
  /** Of a bottle that is a machine. */
  machine: v.optional(MachineAddress),
  image: v.object({ reference: v.string(), id: v.string() }),
  command: v.array(v.string()),
  user: v.optional(v.string()),
  workdir: v.string(),
  terminal: v.boolean(),
  startedAt: v.string(),
  /** The supervisor; the command that makes the bottle, before it has one. */
  owner: Owner,
  /**
   * `making`: the command has not run, so there is nothing of worth in it. `running`: it may have. `kept`: it has ended,
   * and work that is nowhere else is in it. `ended`: nothing is left of it but this record and its log.
   */
  phase: v.picklist(['making', 'running', 'kept', 'ended']),
  workspace: v.optional(WorkspaceRecord),
  /** The commit that the work inside started from; known once the workspace is in. */
  base: v.optional(v.string()),
  /** Whose name is on commits that are made for it. */
  gitUser: options({ name: v.optional(v.string()), email: v.optional(v.string()) }),
  exitCode: v.optional(int),
  endedAt: v.optional(v.string()),
  work: v.optional(WorkRecord),
  /** Of a kept one: why, in a sentence. */
  keptBecause: v.optional(v.string()),
  egress: v.optional(v.object({ allowed: int, denied: int, failed: int })),
});
export type BottleRecord = Readonly<v.InferOutput<typeof BottleRecord>>;
export type WorkRecord = Readonly<v.InferOutput<typeof WorkRecord>>;

/**
 * Makes a bottle's directory, with its record in it from the first moment.
 * @throws when there is one of that name.
 */
export async function createRecord(places: BottlePlaces, record: BottleRecord): Promise<void> {
  const draft = join(dirname(places.directory), draftName(record.slug));
  await mkdir(draft, { mode: 0o700 });
  await writeWhole(join(draft, basename(places.record)), record);
  await rename(draft, places.directory);
}

/** Writes the record whole, or leaves the one before. */
export async function writeRecord(places: BottlePlaces, record: BottleRecord): Promise<void> {
  const draft = `${places.record}.${process.pid}`;
  await writeWhole(draft, record);
  await rename(draft, places.record);
}

async function writeWhole(path: string, record: BottleRecord): Promise<void> {
  await using file = await open(path, 'w', 0o600);
  await file.writeFile(`${JSON.stringify(record, undefined, 2)}\n`);
}

function draftName(slug: string): string {
  return `.${process.pid}.${slug}`;
}

/** Removes the directories of those who died while they made them. */
export async function removeDrafts(parent: string): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const pid = /^\.([0-9]+)\./.exec(name)?.[1];
    if (pid !== undefined && !isThere(Number(pid)))
      await rm(join(parent, name), { recursive: true, force: true });
  }
}

/** `undefined`: there is none, or none that can be read. */
export async function readRecord(places: BottlePlaces): Promise<BottleRecord | undefined> {
  const text = await readFile(places.record, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return fit(BottleRecord, JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Removes the sockets and what was being made. */
export async function removeRuntime(places: BottlePlaces): Promise<void> {
  await rm(places.run, { recursive: true, force: true });
  await rm(places.scratch, { recursive: true, force: true });
}

/** Removes everything on this host's disk that the bottle had. */
export async function removeRecord(places: BottlePlaces): Promise<void> {
  await rm(places.run, { recursive: true, force: true });
  await rm(places.directory, { recursive: true, force: true });
}
