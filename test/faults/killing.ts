import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import assert from 'node:assert/strict';
import { buildImage, House, image } from '../bottles/house.ts';
import { run } from '../../src/process/run.ts';
import { double } from '../smolvm/double.ts';

/** A supervisor whose owner was killed ends its bottle in good order, which takes it a moment. */
const orderlyMs = 30_000;

type Victim = 'supervisor' | 'cli' | 'smolvm' | '_boot-vm';
type Leftovers = Record<string, string[]>;

/** Whose bottles are killed. */
interface Ground extends AsyncDisposable {
  readonly house: House;
  readonly victims: readonly Victim[];
  /** A whole start takes about so many milliseconds. */
  readonly wholeMs: number;
  /** Milliseconds that a process which was killed takes to be gone, with what hangs on it. */
  readonly goneMs: number;
  /** What a bottle gets to notice that something of it was killed; as long as it likes where this says nothing. */
  readonly noticeMs?: number;
  /** What whatever runs the bottles still has of them, by kind; each should be empty. */
  left(): Promise<Leftovers>;
}

/** Containers of Docker. */
export async function containerGround(): Promise<Ground> {
  await buildImage();
  const house = await House.build();
  return {
    house,
    victims: ['cli', 'supervisor'],
    wholeMs: 3_000,
    goneMs: 0,
    left: async () => ({ containers: await house.containers() }),
    [Symbol.asyncDispose]: () => house[Symbol.asyncDispose](),
  };
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
    wholeMs: 6_000,
    goneMs: 3_000,
    noticeMs: 8_000,
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
async function processesOf(house: House): Promise<Map<number, string>> {
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
async function victimOf(kind: Victim, house: House, cli: number | undefined): Promise<number | undefined> {
  if (kind === 'cli') return cli;
  const found = [...(await processesOf(house))].filter(([, line]) => marks[kind].test(line));
  return found[Math.floor(Math.random() * found.length)]?.[0];
}

async function filesBelow(path: string, kept: RegExp): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !kept.test(file));
}

/** What of the bottles is there; each should be empty. Records and logs of bottles that ended stay, and are told apart. */
async function leftovers(ground: Ground): Promise<Leftovers> {
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
async function told(house: House): Promise<string> {
  const files = await filesBelow(join(house.path, 'state/claude-bottle'), /gate\.jsonl(\.\d)?$/);
  const texts = files.map(async (file) => `\n${file}: ${await readFile(file, 'utf8').catch(String)}`);
  return (await Promise.all(texts)).join('');
}

const isEmpty = (left: Leftovers) => Object.values(left).every((list) => list.length === 0);
const countsOf = (left: Leftovers) =>
  Object.entries(left)
    .map(([name, list]) => `${list.length} ${name}`)
    .join(', ');

const script =
  'n=0; while :; do n=$((n+1)); echo $n >file; git add file; git -c user.name=a -c user.email=a@b commit -qm $n && echo committed $n; done';

interface Killed {
  readonly hit: boolean;
  /** The last commit that the command told of, before the kill. */
  readonly commit: number;
  readonly words: string;
}

/** Starts a bottle, and kills one process of it some time later. */
async function killOne({ house, wholeMs, noticeMs }: Ground, kind: Victim): Promise<Killed> {
  const child = house.spawn(['start', '--yes', `--image=${image}`, '--', 'bash', '-c', script]);
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (more: string) => (text[name] += more));
  }
  const gone = once(child, 'exit');
  await sleep(Math.random() * wholeMs);
  const pid = await victimOf(kind, house, child.pid);
  const commit = Number(/committed (\d+)\n[^\n]*$/.exec(text.stdout)?.[1] ?? 0);
  const hit = pid !== undefined && isKilled(pid);
  if (!hit || (noticeMs !== undefined && !(await endsWithin(gone, noticeMs)))) child.kill('SIGTERM');
  await gone;
  return { hit, commit, words: text.stderr };
}

function isKilled(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}

async function endsWithin(gone: Promise<unknown>, ms: number): Promise<boolean> {
  return await Promise.race([gone.then(() => true), sleep(ms, false, { ref: false })]);
}

/** Ends bottles that stayed because their user, who was there, has to decide on what was not committed. */
async function decide(house: House): Promise<void> {
  for (const { slug, status } of await house.list()) {
    if (status !== 'exited') continue;
    const { code, stderr } = await house.bottle(['collect', String(slug), '--uncommitted']);
    assert.equal(code, 0, stderr);
  }
}

/** The number of the newest commit on any branch of a bottle's; what was not committed may lie above it. */
async function newest(house: House): Promise<number> {
  const subjects = await house.git('log', '--branches=bottle/*', '--format=%s');
  return Math.max(0, ...subjects.split('\n').map((subject) => Number.parseInt(subject, 10) || 0));
}

async function forgetBranches(house: House): Promise<void> {
  const names = await house.git('for-each-ref', '--format=%(refname:short)', 'refs/heads/bottle');
  if (names !== '') await house.git('branch', '-qD', ...names.split('\n'));
}

/**
 * Kills processes of bottles that commit all the time. The next command has to remove what that leaves, and to have saved
 * every commit that was told of. @returns the figures.
 */
export async function killMany(ground: Ground, count: number): Promise<string> {
  const { house, victims, goneMs } = ground;
  let early = 0;
  let saved = 0;
  for (let done = 1; done <= count; done += 1) {
    const kind = victims[done % victims.length] ?? 'cli';
    const { hit, commit, words } = await killOne(ground, kind);
    if (!hit) early += 1;
    const isUserThere = !hit || (kind !== 'cli' && kind !== 'supervisor');

    const next = await house.bottle(['list', '--json']);
    assert.equal(next.code, 0, next.stderr);
    let left = await leftovers(ground);
    // Only where a supervisor lives on is it its own to end.
    const patience = Date.now() + (kind === 'supervisor' && hit ? goneMs : orderlyMs);
    while (!isEmpty(left) && Date.now() < patience) {
      await sleep(200);
      if (isUserThere) await decide(house);
      left = await leftovers(ground);
    }
    const story = async () =>
      `after kill ${done} of the ${kind}: ${words}\n${next.stderr}${await told(house)}`;
    assert.ok(isEmpty(left), `${JSON.stringify(left, undefined, 1)}${await story()}`);
    const came = await newest(house);
    assert.ok(came >= commit, `commit ${commit} was told of, ${came} came out; ${await story()}`);
    if (came > 0) saved += 1;
    await forgetBranches(house);
  }
  const left = await leftovers(ground);
  return `${count} SIGKILLs (${early} before there was such a process); work saved after ${saved}; left: ${countsOf(left)}`;
}
