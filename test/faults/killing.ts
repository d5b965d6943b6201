import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import assert from 'node:assert/strict';
import { buildImage, House, image } from '../bottles/house.ts';
import { run } from '../../src/process/run.ts';

const double = fileURLToPath(new URL('../fakes/smolvm', import.meta.url));

export type Victim = 'supervisor' | 'cli' | 'smolvm' | '_boot-vm';
export type Leftovers = Record<string, string[]>;

/** Whose bottles are killed. */
export interface Ground extends AsyncDisposable {
  readonly house: House;
  readonly victims: readonly Victim[];
  /** What whatever runs the bottles still has of them, by kind; each should be empty. */
  left(): Promise<Leftovers>;
}

/** Machines of the double of smolvm, in a home of their own. */
export async function machineGround(): Promise<Ground> {
  await buildImage();
  const house = await House.build();
  const cache = await mkdtemp(join(tmpdir(), 'cb-cache-'));
  // smolvm's VM, which as root runs as another user, must be able to walk here.
  await chmod(house.path, 0o711);
  const home = join(house.path, 'vm');
  Object.assign(house.env, {
    CLAUDE_BOTTLE_BACKEND: 'smolmachines',
    CLAUDE_BOTTLE_SMOLVM: double,
    CLAUDE_BOTTLE_SMOLVM_HOME: home,
    XDG_CACHE_HOME: cache,
  });
  const packed = await house.bottle(['pack', `--image=${image}`], { deadlineMs: 240_000 });
  assert.equal(packed.code, 0, packed.stderr);
  const vms = join(home, 'smolvm/.cache/smolvm/vms');
  return {
    house,
    victims: ['supervisor', 'smolvm', 'cli', '_boot-vm'],
    left: async () => ({
      machines: await machinesIn(join(home, 'smolvm')),
      // Beside what machines share, and the double's locks, which stand for those in smolvm's database.
      'directories of machines': (await namesIn(vms)).filter((name) => /^[0-9a-f]{16}$/.test(name)),
      'mounted programs': await namesIn(join(home, 'smolvm/claude-bottle-init')),
      // Where the double keeps what runs in a guest.
      'groups of processes': await groupsOf(vms),
    }),
    async [Symbol.asyncDispose]() {
      await house[Symbol.asyncDispose]();
      await rm(cache, { recursive: true, force: true });
    },
  };
}

async function machinesIn(directory: string): Promise<string[]> {
  if (!existsSync(directory)) return [];
  const { code, stdout, stderr } = await run(double, ['machine', 'ls', '--json'], {
    env: { SMOLVM_DATA_DIR: directory },
  });
  assert.equal(code, 0, stderr);
  return (JSON.parse(stdout) as { name: string }[]).map(({ name }) => name);
}

async function groupsOf(vms: string): Promise<string[]> {
  const ours = `smolvm-double-${createHash('sha256').update(vms).digest('hex').slice(0, 8)}`;
  const roots = ['', 'memory', 'pids'].map((hierarchy) => join('/sys/fs/cgroup', hierarchy));
  return (await Promise.all(roots.map(namesIn))).flat().filter((name) => name.startsWith(ours));
}

async function namesIn(path: string): Promise<string[]> {
  return await readdir(path).catch(() => []);
}

/** Processes that carry this house's places in their environment, by pid; the command line tells what they are. */
export async function processesOf(house: House): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const environ = await readFile(`/proc/${name}/environ`, 'latin1').catch(() => '');
    if (!environ.includes(house.path)) continue;
    const line = await readFile(`/proc/${name}/cmdline`, 'latin1').catch(() => '');
    found.set(Number(name), line.replaceAll('\0', ' '));
  }
  return found;
}

const marks = {
  supervisor: /supervise\./,
  smolvm: /smolvm\.d\/main\.ts machine /,
  '_boot-vm': /smolvm\.d\/main\.ts _boot-vm /,
} as const;

/** One process of that kind, if there is one. */
export async function victimOf(
  kind: Victim,
  house: House,
  cli: number | undefined,
): Promise<number | undefined> {
  if (kind === 'cli') return cli;
  const found = [...(await processesOf(house))].filter(([, line]) => marks[kind].test(line));
  return found[Math.floor(Math.random() * found.length)]?.[0];
}

export async function filesBelow(path: string, kept: RegExp): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !kept.test(file));
}

/** What of the bottles is there; each should be empty. Records and logs of bottles that ended stay, and are told apart. */
export async function leftovers(ground: Ground): Promise<Leftovers> {
  const { house } = ground;
  const state = join(house.path, 'state/claude-bottle');
  return {
    ...(await ground.left()),
    processes: [...(await processesOf(house)).values()],
    sockets: await filesBelow(join(house.path, 'run'), /$^/),
    'temporary files': await filesBelow(state, /\/(bottle\.json|gate\.jsonl(\.\d)?|supervisor\.log)$/),
  };
}

/** What records and supervisors' logs say, for whoever has to find out how something stayed. */
export async function told(house: House): Promise<string> {
  const files = await filesBelow(join(house.path, 'state/claude-bottle'), /gate\.jsonl(\.\d)?$/);
  const texts = files.map(async (file) => `\n${file}: ${await readFile(file, 'utf8').catch(String)}`);
  return (await Promise.all(texts)).join('');
}

export const isEmpty = (left: Leftovers) => Object.values(left).every((list) => list.length === 0);
export const countsOf = (left: Leftovers) =>
  Object.entries(left)
    .map(([name, list]) => `${list.length} ${name}`)
    .join(', ');
