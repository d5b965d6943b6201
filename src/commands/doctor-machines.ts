import { realpath, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { requirementOf } from '../smolvm/capabilities.ts';
import type { Smolvm } from '../smolvm/find.ts';
import { machineHome, placeOfMachines, type MachineHomePlace } from '../smolvm/machine-home.ts';
import { formatVersion } from '../smolvm/version.ts';
import { hypervisorFramework, virtualisation } from '../smolvm/virtualisation.ts';
import { formatBytes } from '../terminal/units.ts';
import { type Check, optional, orFailure } from './doctor-check.ts';
import { homeOf } from './world-bottles.ts';
import { nonEmpty, type World } from './world.ts';

const gib = 1024 ** 3;
/** Below this, an image's layers or a build in the machine soon fill what the machine believes is an empty disk. */
const comfortableBytes = 5 * gib;
/** smolvm's defaults for the disk of the layers and the one that is written to: files that grow (v1.9.3, src/data/storage.rs). */
const diskBytes = (20 + 10) * gib;

const packsAndBottles = 'without it nothing is packed, and bottles are containers';
const bottles = 'without it bottles are containers';

/** Everything about smolvm and its machines. What is about machines alone is left out where no bottle can be one. */
export async function checkMachines(world: World, found: Promise<Smolvm>): Promise<Check[]> {
  const [smolvm, hypervisor, machines] = await Promise.all([
    optional(packsAndBottles, smolvmCheck(world, found)),
    optional(packsAndBottles, hypervisorCheck(world)),
    machinesChecks(world, found),
  ]);
  return [smolvm, hypervisor, ...machines];
}

async function machinesChecks(world: World, found: Promise<Smolvm>): Promise<Check[]> {
  const smolvm = await found.catch(() => undefined);
  if (smolvm?.can('bottles') !== true) return [];
  return await Promise.all([homeCheck(world), diskCheck(world)]);
}

function smolvmCheck({ environment }: World, found: Promise<Smolvm>): Promise<Check> {
  const name = 'smolvm';
  return orFailure(name, async () => {
    const smolvm = await found;
    const { path, version } = smolvm;
    const origin = [
      path,
      ...[await realpath(path)].filter((real) => real !== path).map((real) => `which is ${real}`),
      ...(nonEmpty(environment['CLAUDE_BOTTLE_SMOLVM']) === undefined
        ? []
        : ['as CLAUDE_BOTTLE_SMOLVM says']),
    ].join(', ');
    const detail = `${formatVersion(version)} (${origin})`;
    if (smolvm.can('bottles')) return { name, status: 'ok', detail: `${detail}: packs and makes bottles` };
    const { needed } = requirementOf('bottles');
    const slower = smolvm.can('plainLayers') ? '' : '; takes compressed layers only, so packing takes longer';
    return {
      name,
      status: 'warning',
      detail: `${detail}: only packs; bottles need ${needed}, and are containers without it${slower}`,
      hint: `update smolvm to ${needed} or newer`,
    };
  });
}

function hypervisorCheck({ environment }: World): Promise<Check> {
  const name = 'virtualisation';
  return orFailure(name, async () => ({
    name,
    status: 'ok',
    detail: await (process.platform === 'darwin'
      ? hypervisorFramework(environment)
      : virtualisation(environment)),
  }));
}

/** Where machines are kept: whether smolvm can use it, as the user that it will be. */
function homeCheck({ environment }: World): Promise<Check> {
  const name = 'machines';
  const check = orFailure(name, async () => {
    const [home, uid] = [homeOf(environment), process.geteuid?.() ?? 0];
    const place = placeOfMachines(environment, home, uid);
    await machineHome(environment, home, uid);
    const { path, cache, limit, dropsUser } = place;
    const where = path ?? `smolvm's own place, ${cache}`;
    const detail = `${where} (sockets' directory: ${Buffer.byteLength(cache)} of ${limit} bytes)`;
    if (!dropsUser) return { name, status: 'ok', detail };
    return {
      name,
      status: 'warning',
      detail: `${detail}; root's machines run as other users, and before smolvm 1.14 files in them lose their owners`,
      hint: 'run claude-bottle as an ordinary user who may use /dev/kvm',
    };
  });
  return optional(bottles, check);
}

function diskCheck({ environment }: World): Promise<Check> {
  const name = 'machine disks';
  const check = orFailure(name, async () => {
    const place = placeOfMachines(environment, homeOf(environment), process.geteuid?.() ?? 0);
    const free = await freeBytes(place);
    const detail = `${formatBytes(free)} free for machines, each of whose disks are files that grow, to ${formatBytes(diskBytes)} together`;
    if (free >= comfortableBytes) return { name, status: 'ok', detail };
    const hint = 'make room, or keep machines on another disk: CLAUDE_BOTTLE_SMOLVM_HOME=/path';
    return { name, status: 'warning', detail, hint };
  });
  return optional(bottles, check);
}

/** Of the file system that the directory will be on. */
async function freeBytes({ cache }: MachineHomePlace): Promise<number> {
  for (let path = cache; ; path = dirname(path)) {
    try {
      const { bavail, bsize } = await statfs(path);
      return bavail * bsize;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || path === dirname(path)) throw error;
    }
  }
}
