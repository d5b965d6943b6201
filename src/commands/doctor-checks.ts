import { dockerBackend } from '../backends/docker/backend.ts';
import { knownBottles } from '../bottles/host.ts';
import { initProgram } from '../bottles/init-program.ts';
import { openPlaces } from '../bottles/places.ts';
import { Engine } from '../engine/engine.ts';
import { CommandMissing } from '../process/errors.ts';
import { run } from '../process/run.ts';
import { Cache } from '../smolmachine/cache.ts';
import { availableBytes } from '../smolmachine/space.ts';
import { findSmolvm } from '../smolvm/find.ts';
import { formatVersion } from '../smolvm/version.ts';
import { virtualisation } from '../smolvm/virtualisation.ts';
import { formatBytes } from '../terminal/units.ts';
import { version } from '../version.ts';
import { GitMissing } from '../workspace/errors.ts';
import { explain } from './failures.ts';
import { bottlesPlaces } from './world-bottles.ts';
import { cachePath, engineCommand, type World } from './world.ts';

/** One finding. `failed` keeps the main job from working, `warning` makes it worse. */
export interface Check {
  readonly name: string;
  readonly status: 'ok' | 'warning' | 'failed';
  readonly detail: string;
  readonly hint?: string;
}

/** A converted agent image takes about this much, several times over while it is made. */
const comfortableBytes = 8e9;
const neededBytes = 2e9;

/** Every check, in the order in which a start, and then a pack, would meet it. They run at once. */
export function checkAll(world: World): Promise<Check[]> {
  return Promise.all([
    node(),
    git(),
    engine(world),
    bottles(world),
    state(world),
    cache(world),
    disk(world),
    forPack(smolvm(world)),
    forPack(hypervisor(world)),
  ]);
}

/** What only `pack` needs keeps nobody from starting a bottle. */
async function forPack(check: Promise<Check>): Promise<Check> {
  const found = await check;
  if (found.status !== 'failed') return found;
  return { ...found, status: 'warning', detail: `${found.detail.replace(/\.$/, '')}; only pack needs it` };
}

async function git(): Promise<Check> {
  return orFailure('git', async () => {
    const { stdout } = await run('git', ['--version'], { deadlineMs: 10_000 }).catch((error: unknown) => {
      throw error instanceof CommandMissing ? new GitMissing({ command: 'git' }) : error;
    });
    return { name: 'git', status: 'ok', detail: stdout.trim().replace(/^git version /, '') };
  });
}

/** Whether bottles can be made of this engine's containers, and with what. */
async function bottles(world: World): Promise<Check> {
  return orFailure('bottles', async () => {
    const [connected, init] = await Promise.all([connect(world), initProgram()]);
    const { runtime, diskLimit } = await dockerBackend(connected, { version: version() }).check({});
    return { name: 'bottles', status: 'ok', detail: `${runtime}, disk limit ${diskLimit}, ${init}` };
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

async function smolvm(world: World): Promise<Check> {
  return orFailure('smolvm', async () => {
    const found = await findSmolvm(world.environment, { signal: world.signal });
    const detail = `${formatVersion(found.version)} (${found.path})`;
    if (found.can('plainLayers')) return { name: 'smolvm', status: 'ok', detail };
    return {
      name: 'smolvm',
      status: 'warning',
      detail: `${detail}; takes compressed layers only, so packing takes longer`,
      hint: 'update smolvm to 1.8.1 or newer',
    };
  });
}

async function hypervisor(world: World): Promise<Check> {
  return orFailure('virtualisation', async () => ({
    name: 'virtualisation',
    status: 'ok',
    detail: await virtualisation(world.environment),
  }));
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

async function orFailure(name: string, check: () => Promise<Check>): Promise<Check> {
  try {
    return await check();
  } catch (error) {
    const { what, why, hint } = explain(error);
    const detail = why === undefined ? what : `${what}. ${why.split('\n', 1)[0]}`;
    return { name, status: 'failed', detail, ...(hint === undefined ? {} : { hint }) };
  }
}
