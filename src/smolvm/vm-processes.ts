import { readdir, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Owner, ownerOf } from '../process/owner.ts';
import { run } from '../process/run.ts';

const pollMs = 20;
/** A killed process that will not go within this time is stuck in the kernel, and no waiting of ours helps. */
const goneWithinMs = 5_000;

/**
 * The VM processes whose files are below `directory`. smolvm runs each machine as `smolvm _boot-vm FILE`, in a process
 * group of its own, where FILE is in the machine's directory; its pid is also in `agent.pid` there (v0.8.0 to v1.9.3,
 * src/agent/manager.rs). A pid counts only if its command line names `_boot-vm` and a path below `directory`.
 */
export async function machinesBelow(directory: string): Promise<Owner[]> {
  const roots = new Set([directory, await realpath(directory).catch(() => directory)]);
  const pids = process.platform === 'linux' ? await everyPid() : await notedPids(directory);
  const owners = await Promise.all(
    pids.map(async (pid) => ((await runsBelow(pid, roots)) ? await ownerOf(pid) : undefined)),
  );
  return owners.filter((owner) => owner !== undefined);
}

/**
 * Kills the VM processes whose files are below `directory` and waits until they are gone. Call it before removing a
 * directory that a `pack create` worked in: smolvm's VMs outlive a killed CLI.
 * @returns how many there were.
 */
export async function stopMachinesBelow(directory: string): Promise<number> {
  let stopped = 0;
  const until = Date.now() + goneWithinMs;
  for (;;) {
    const machines = await machinesBelow(directory);
    if (machines.length === 0 || Date.now() > until) return stopped;
    for (const { pid } of machines) kill(pid);
    stopped = Math.max(stopped, machines.length);
    await sleep(pollMs);
  }
}

/**
 * Kills `machine create` and `machine start` of that name in a home of ours that go on although whoever ran them was
 * killed, and waits until they are gone: what they still make would be in nobody's list. Those of another home, which may
 * use the same name, are somebody else's.
 */
export async function stopMakersOf(name: string, home: string | undefined): Promise<void> {
  if (process.platform !== 'linux' || home === undefined) return;
  const until = Date.now() + goneWithinMs;
  for (;;) {
    const pids = await everyPid();
    const makes = await Promise.all(
      pids.map(async (pid) => isMakerOf(await commandLine(pid), name) && (await isAtHome(pid, home))),
    );
    const makers = pids.filter((_pid, at) => makes[at] === true);
    if (makers.length === 0 || Date.now() > until) return;
    for (const pid of makers) kill(pid);
    await sleep(pollMs);
  }
}

async function isAtHome(pid: number, home: string): Promise<boolean> {
  const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
  return environment.split('\0').includes(`SMOLVM_DATA_DIR=${home}`);
}

function isMakerOf(args: readonly string[], name: string): boolean {
  const at = args.indexOf('machine');
  const verb = args[at + 1];
  return at > 0 && (verb === 'create' || verb === 'start') && args.includes(name, at);
}

function kill(pid: number): void {
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, 'SIGKILL');
    } catch {
      // Not a group leader, or gone already.
    }
  }
}

async function everyPid(): Promise<number[]> {
  return (await readdir('/proc')).map(Number).filter((pid) => pid > 0);
}

async function notedPids(directory: string): Promise<number[]> {
  const machines = join(directory, 'smolvm', 'vms');
  const names = await readdir(machines).catch(() => []);
  const notes = names.map((name) => readFile(join(machines, name, 'agent.pid'), 'latin1').catch(() => ''));
  return (await Promise.all(notes)).map((note) => Number.parseInt(note, 10)).filter((pid) => pid > 0);
}

async function runsBelow(pid: number, roots: ReadonlySet<string>): Promise<boolean> {
  const args = await commandLine(pid);
  const boot = args.indexOf('_boot-vm');
  const file = args[boot + 1];
  return boot > 0 && file !== undefined && [...roots].some((root) => file.startsWith(`${root}/`));
}

async function commandLine(pid: number): Promise<string[]> {
  if (process.platform === 'linux') {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
  }
  const { stdout } = await run('ps', ['-ww', '-o', 'command=', '-p', String(pid)]);
  // ps joins with spaces, so a path with a space in it must be put together again.
  const [, program, file] = /^(.*?) _boot-vm (.*)$/s.exec(stdout.trim()) ?? [];
  return program === undefined || file === undefined ? [] : [program, '_boot-vm', file];
}
