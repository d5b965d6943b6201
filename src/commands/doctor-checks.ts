import { backendTraits } from '../backends/names.ts';
import { knownBottles } from '../bottles/host.ts';
import { initProgram } from '../bottles/init-program.ts';
import { openPlaces } from '../bottles/places.ts';
import { Engine } from '../engine/engine.ts';
import { CommandMissing } from '../process/errors.ts';
import { run } from '../process/run.ts';
import { Cache } from '../smolmachine/cache.ts';
import { availableBytes } from '../smolmachine/space.ts';
import { findSmolvm } from '../smolvm/find.ts';
import { formatBytes } from '../terminal/units.ts';
import { backendSaid, openBackend } from './start-backend.ts';
import { GitMissing } from '../workspace/errors.ts';
import { checkBoot } from './doctor-boot.ts';
import { type Check, orFailure } from './doctor-check.ts';
import { checkMachines } from './doctor-machines.ts';
import { bottlesPlaces } from './world-bottles.ts';
import { cachePath, engineCommand, type World } from './world.ts';

/** A converted agent image takes about this much, several times over while it is made. */
const comfortableBytes = 8e9;
const neededBytes = 2e9;

/**
 * Every check, in the order in which a start, and then a pack, would meet it. They run at once.
 * @param options.boot also boots a machine, after everything else.
 */
export async function checkAll(world: World, options: { readonly boot: boolean }): Promise<Check[]> {
  const smolvm = findSmolvm(world.environment, { signal: world.signal });
  const checks = await Promise.all([
    node(),
    git(),
    engine(world),
    bottles(world),
    state(world),
    cache(world),
    disk(world),
    checkMachines(world, smolvm),
  ]);
  return [...checks.flat(), ...(options.boot ? [await checkBoot(world, smolvm)] : [])];
}

async function git(): Promise<Check> {
  return orFailure('git', async () => {
    const { stdout } = await run('git', ['--version'], { deadlineMs: 10_000 }).catch((error: unknown) => {
      throw error instanceof CommandMissing ? new GitMissing({ command: 'git' }) : error;
    });
    return { name: 'git', status: 'ok', detail: stdout.trim().replace(/^git version /, '') };
  });
}

/** What bottles will be made of where nobody says: machines, or containers of this engine. */
async function bottles(world: World): Promise<Check> {
  return orFailure('bottles', async () => {
    const init = await initProgram();
    const { name, facts } = await openBackend(world, {
      said: backendSaid({}, world.environment),
      engine: () => connect(world),
    });
    const made = `${backendTraits[name].thing}s (${name}, ${facts.runtime}), disk limit ${facts.diskLimit}`;
    return { name: 'bottles', status: 'ok', detail: `${made}, ${init}` };
  });
}

async function state(world: World): Promise<Check> {
  return orFailure('state', async () => {
    const places = bottlesPlaces(world);
    await openPlaces(places);
    const records = await knownBottles(places);
    const live = records.filter(({ record }) => record.phase !== 'ended').length;
    return {
      name: 'state',
      status: 'ok',
      detail: `${live} ${live === 1 ? 'bottle' : 'bottles'} (${places.state}; sockets: ${places.run})`,
    };
  });
}

function node(): Promise<Check> {
  return Promise.resolve({ name: 'node', status: 'ok', detail: `${process.version} (${process.execPath})` });
}

async function engine(world: World): Promise<Check> {
  return orFailure('engine', async () => {
    const connected = await connect(world);
    const { product, version, store, driver, remote } = await connected.info();
    const where = connected.socket ?? connected.endpoint ?? 'local storage';
    return {
      name: 'engine',
      status: 'ok',
      detail: `${product} ${version}, ${store} (${driver}), ${remote ? 'remote, ' : ''}${where}`,
    };
  });
}

function connect({ environment, signal }: World): Promise<Engine> {
  return Engine.connect({ command: engineCommand(environment), signal });
}

async function cache(world: World): Promise<Check> {
  return orFailure('cache', async () => {
    const opened = await Cache.open(cachePath(world));
    await using _writable = await opened.scratch({ signal: world.signal });
    const entries = await opened.list();
    const bytes = entries.reduce((sum, { record }) => sum + record.sizes.artifact, 0);
    return {
      name: 'cache',
      status: 'ok',
      detail: `${entries.length} ${entries.length === 1 ? 'entry' : 'entries'}, ${formatBytes(bytes)} (${opened.tree.root})`,
    };
  });
}

async function disk(world: World): Promise<Check> {
  return orFailure('disk', async () => {
    const { tree } = await Cache.open(cachePath(world));
    const free = await availableBytes(tree.root);
    const detail = `${formatBytes(free)} free for the cache`;
    if (free >= comfortableBytes) return { name: 'disk', status: 'ok', detail };
    const hint = 'make room: claude-bottle cache prune --older-than 7d';
    return { name: 'disk', status: free >= neededBytes ? 'warning' : 'failed', detail, hint };
  });
}
