import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import * as v from 'valibot';
import { type Bottle } from '../../src/backends/backend.ts';
import { backendOf } from '../../src/bottles/backend-of.ts';
import { type BottlePlaces, bottlePlaces, placesOf } from '../../src/bottles/places.ts';
import { readRecord } from '../../src/bottles/record.ts';
import { run, type RunOptions } from '../../src/process/run.ts';
import { House } from '../bottles/house.ts';
import { candidates } from './backends.ts';
import { type Candidate, image } from './candidate.ts';

/** What came of an attempt; `broken` tells of the attempt and nothing of what is around it. */
const Outcome = v.strictTuple([v.picklist(['stopped', 'escaped', 'broken']), v.string()]);
const Outcomes = v.array(Outcome);
export type Outcome = v.InferOutput<typeof Outcome>;

/** One thing that the agent tries. */
export interface Attempt {
  /** The property that holds, which is the test's name. */
  readonly property: string;
  /** For people. */
  readonly tried: string;
  /** A program with the words of image/attack/tricks.py. Nothing stopped it if it comes to its end. */
  readonly code: string;
  /** What has to stop it: anything else fails the test. */
  readonly stopped: RegExp;
  /** It does succeed where nothing is around it, and harms nobody there. */
  readonly works?: boolean;
}

/** The words of a `start` from the suite's image. */
export function startOf(
  candidate: Candidate,
  flags: readonly string[],
  command: readonly string[],
): readonly string[] {
  return ['start', '--yes', `--image=${image}`, ...candidate.flags, ...flags, '--', ...command];
}

/** A user's machine with one bottle on it, in which an agent does what a test says. */
export class Cage implements AsyncDisposable {
  readonly house: House;
  readonly slug: string;
  readonly places: BottlePlaces;
  readonly bottle: Bottle;

  private constructor(house: House, slug: string, places: BottlePlaces, bottle: Bottle) {
    this.house = house;
    this.slug = slug;
    this.places = places;
    this.bottle = bottle;
  }

  static async house(candidate: Candidate): Promise<House> {
    await candidate.prepare();
    const house = await House.build();
    await candidate.furnish(house);
    return house;
  }

  static async start(
    candidate: Candidate,
    flags: readonly string[] = [],
    options: RunOptions & {
      readonly command?: readonly string[];
      readonly prepare?: (house: House) => Promise<void>;
    } = {},
  ): Promise<Cage> {
    const { command = ['python3', '/attack/agent.py'], prepare, ...running } = options;
    const house = await Cage.house(candidate);
    try {
      await prepare?.(house);
      const args = startOf(candidate, ['--detach', ...flags], command);
      const { code, stdout, stderr } = await house.bottle(args, running);
      assert.equal(code, 0, stderr);
      const slug = stdout.trim();
      const places = bottlePlaces(placesOf(house.env, house.home), slug);
      const record = await readRecord(places);
      assert.ok(record !== undefined);
      const backend = await backendOf(record, { places: () => places });
      return new Cage(house, slug, places, backend.bottle(slug));
    } catch (error) {
      await house[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Has the agent try these, one after the other. */
  async try(codes: readonly string[]): Promise<readonly Outcome[]> {
    const { code, stdout, stderr } = await this.bottle.exec(['python3', '/attack/ask.py'], {
      input: JSON.stringify(codes),
      timeoutMs: 240_000,
    });
    assert.equal(code, 0, stderr);
    return v.parse(Outcomes, JSON.parse(stdout));
  }

  /** What an attempt that is to succeed found, as `result` has it. */
  async ask<T>(code: string, schema: v.GenericSchema<unknown, T>): Promise<T> {
    const [outcome] = await this.try([`print = None\n${code}\nresult = json.dumps(result)`]);
    assert.ok(outcome !== undefined);
    assert.equal(outcome[0], 'escaped', outcome[1]);
    // Python's repr of a text of ASCII in single quotes.
    const text = outcome[1].slice(1, -1).replaceAll("\\'", "'").replaceAll('\\\\', '\\');
    return v.parse(schema, JSON.parse(text));
  }

  async status(): Promise<string> {
    return String((await this.house.list('--all')).find(({ slug }) => slug === this.slug)?.['status']);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.house[Symbol.asyncDispose]();
  }
}

/** One cage for the tests of a block, made when the first of them wants it, and gone after the last. */
export function sharedCage(make: () => Promise<Cage>): () => Promise<Cage> {
  const made = once(make);
  let wanted = false;
  after(async () => {
    if (wanted) await (await made().catch(() => undefined))?.[Symbol.asyncDispose]();
  });
  return () => {
    wanted = true;
    return made();
  };
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

/** Runs tests over every backend that is there; one that is not is said to be skipped, and why. */
export function onEvery(name: string, tests: (candidate: Candidate) => void): void {
  for (const candidate of candidates) {
    const { missing } = candidate;
    const prepared = { ...candidate, prepare: once(candidate.prepare) };
    if (missing === undefined) describe(`${candidate.name}: ${name}`, () => tests(prepared));
    else test(`${candidate.name}: ${name}`, { skip: missing }, () => undefined);
  }
}

/** One test for each attempt, all of them made in one cage, and those that may be also without one. */
export function allStopped(
  candidate: Candidate,
  attempts: readonly Attempt[],
  cage: () => Promise<Cage>,
  user: 'agent' | 'root' = 'agent',
): void {
  const harmless = attempts.filter(({ works }) => works === true);
  const caged = once(async () => (await cage()).try(attempts.map(({ code }) => code)));
  const free = once(() =>
    tryFree(
      candidate,
      harmless.map(({ code }) => code),
    ),
  );
  for (const [at, attempt] of attempts.entries()) {
    test(attempt.property, async (t) => {
      const [kind, detail] = (await caged())[at] ?? ['broken', 'it was not tried'];
      const reason = user === 'root' ? candidate.facts.harmlessAsRoot[attempt.property] : undefined;
      if (kind === 'escaped' && reason !== undefined) {
        t.diagnostic(`tried: ${attempt.tried}; not stopped, and harmless: ${reason}`);
        return;
      }
      t.diagnostic(`tried: ${attempt.tried}; stopped by: ${detail}`);
      assert.equal(kind, 'stopped', `${attempt.tried}: ${detail}`);
      assert.match(detail, attempt.stopped);
      const unconfined = (await free())[harmless.indexOf(attempt)];
      if (unconfined !== undefined)
        assert.equal(unconfined[0], 'escaped', `without a cage: ${unconfined[1]}`);
    });
  }
}

async function tryFree({ unconfined }: Candidate, codes: readonly string[]): Promise<readonly Outcome[]> {
  const [command, ...args] = unconfined ?? [];
  if (command === undefined || codes.length === 0) return [];
  const ran = await run(command, [...args, 'python3', '/attack/batch.py'], {
    input: JSON.stringify(codes),
    deadlineMs: 120_000,
  });
  assert.equal(ran.code, 0, ran.stderr);
  return v.parse(Outcomes, JSON.parse(ran.stdout));
}
