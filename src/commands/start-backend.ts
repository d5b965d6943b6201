import type { Backend, BackendFacts } from '../backends/backend.ts';
import { type BackendReason, chooseBackend, type Wishes } from '../backends/choice.ts';
import { dockerBackend } from '../backends/docker/backend.ts';
import { type BackendName, backendNames, backendTraits, isBackendName } from '../backends/names.ts';
import type { MachineAddress } from '../backends/smolmachines/address.ts';
import { seekMachines } from '../backends/smolmachines/seek.ts';
import type { BottleDefinition } from '../definitions/definition.ts';
import type { Engine } from '../engine/engine.ts';
import { version } from '../version.ts';
import { BadUsage } from './command-line.ts';
import { BadValue } from './errors.ts';
import { explain } from './failures.ts';
import { bottlePlaces } from '../bottles/places.ts';
import { bottlesPlaces, homeOf } from './world-bottles.ts';
import { nonEmpty, type World } from './world.ts';

/** A backend that works here. */
interface Found {
  readonly backend: Backend;
  readonly facts: BackendFacts;
  /** Of machines. */
  readonly machine?: MachineAddress;
  /** Directories of it that no bottle may see. */
  readonly own: readonly string[];
  /** What it was found by, for the plan. */
  readonly signs: string;
  /** What may go wrong with it here. */
  readonly warnings: readonly string[];
}

/** The backend of a new bottle. */
export interface OpenedBackend extends Found {
  readonly name: BackendName;
  /** Why that one, for the plan. */
  readonly reason: string;
}

const help = 'claude-bottle start --help';

const rootsMachines =
  'smolvm runs root’s machines as another user, for whom the sockets and files of the bottle may be out of reach: better as an ordinary user who may use /dev/kvm';

/** What the command line says, else the environment. @throws BadValue */
export function backendSaid(
  { backend }: { readonly backend?: BackendName | undefined },
  environment: World['environment'],
): Wishes['said'] {
  if (backend !== undefined) return { name: backend, by: '--backend' };
  const variable = 'CLAUDE_BOTTLE_BACKEND';
  const named = nonEmpty(environment[variable]);
  if (named === undefined) return undefined;
  if (isBackendName(named)) return { name: named, by: variable };
  throw new BadValue({ what: variable, value: named, expected: backendNames.join(' or '), help });
}

export interface BackendWanted {
  /** As `backendSaid` and `bottleSays` find it. */
  readonly said: Wishes['said'];
  /** Of `--runtime`. */
  readonly runtime?: string | undefined;
  /** Where images and containers are. */
  readonly engine: () => Promise<Engine>;
}

/**
 * Opens the backend that is wanted, else the best that works here.
 * @throws BadUsage, or the failure that keeps the wanted one from working here.
 */
export async function openBackend(
  world: World,
  { said, runtime, engine }: BackendWanted,
): Promise<OpenedBackend> {
  if (said !== undefined && runtime !== undefined && !backendTraits[said.name].takesRuntime) {
    throw new BadUsage({
      problem: `--runtime names a runtime for containers, and ${said.name} (${said.by}) has none`,
      hint: 'claude-bottle start --backend docker --runtime NAME',
    });
  }
  const wishes: Wishes = {
    ...(said === undefined ? {} : { said }),
    ...(runtime === undefined ? {} : { needed: { name: 'docker', by: '--runtime' } }),
  };
  const seek = { docker: () => containers(engine, runtime), smolmachines: () => machines(world) };
  const { name, reason, found } = await chooseBackend(wishes, (one) => seek[one](), world.signal);
  return { ...found, name, reason: wordsOf(reason, found.signs) };
}

/** What the definitions say. */
export function bottleSays({ backend, names }: BottleDefinition): Wishes['said'] {
  if (backend === undefined || !isBackendName(backend)) return undefined;
  return { name: backend, by: `bottle ${names.join(', ')}` };
}

async function containers(engine: () => Promise<Engine>, runtime: string | undefined): Promise<Found> {
  const backend = dockerBackend(await engine(), { version: version() });
  const facts = await backend.check(runtime === undefined ? {} : { runtime });
  return { backend, facts, own: [], signs: facts.runtime, warnings: [] };
}

async function machines(world: World): Promise<Found> {
  const { environment, signal } = world;
  const places = bottlesPlaces(world);
  const here = await seekMachines({ environment, home: homeOf(environment), signal });
  // A bottle that becomes a container needs none of it.
  const { machinesBackend } = await import('../backends/smolmachines/open.ts');
  const backend = machinesBackend(here.smolvm, here.home, (slug) => bottlePlaces(places, slug));
  const facts = await backend.check({});
  const signs = `${facts.runtime} and ${here.virtualisation}`;
  const warnings = here.dropsUser ? [rootsMachines] : [];
  return { backend, facts, machine: here.address, own: [here.directory], signs, warnings };
}

function wordsOf(reason: BackendReason, signs: string): string {
  switch (reason.kind) {
    case 'said':
      return `as ${reason.saidBy} says`;
    case 'needed':
      return `chosen because ${reason.by} has a meaning for it alone`;
    case 'preferred':
      return `chosen because ${signs} are here`;
    case 'fallback': {
      const why = reason.failures.map(({ name, failure }) => `${name}: ${explain(failure).what}`);
      return `chosen because nothing stronger works here (${why.join('; ')})`;
    }
  }
}
