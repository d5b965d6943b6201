import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { answerOf } from './agent-protocol.ts';
import { cgroupsGone } from './cgroup.ts';
import type { BootConfig } from './holder.ts';
import type { Host } from './host.ts';
import { NotPartOfDouble, type Release, SmolvmError } from './release.ts';
import { isAlive, type MachineRecord, startTimeOf, type Store } from './store.ts';

const say = (text: string) => void process.stdout.write(text);
/** How long `ls` and `status` wait for the agent: 250 ms in smolvm (src/agent/state_probe.rs), longer on a busy test host. */
const probeMs = 2_000;
/** AGENT_READY_TIMEOUT (src/agent/manager.rs). */
const readyMs = Number(process.env.FAKE_SMOLVM_READY_MS ?? 30_000);
/** A workload gets this long to start (src/agent/client.rs `DETACHED_START_TIMEOUT_SECS`). */
const workloadMs = 120_000;

export type State = 'created' | 'running' | 'stopped' | 'unreachable';

/** The machine's state as it is, by its process and its agent's answer (src/agent/state_probe.rs `resolve_state`). */
export async function stateOf(store: Store, record: MachineRecord): Promise<State> {
  if (record.state !== 'running') return record.state;
  if (!isRunning(record)) return 'stopped';
  const socket = join(store.directoryOf(record.name), 'agent.sock');
  return (await answerOf(socket, { op: 'ping' }, probeMs)) === undefined ? 'unreachable' : 'running';
}

function isRunning({ pid, pidStartTime }: MachineRecord): boolean {
  return pid !== null && pidStartTime !== null && isAlive(pid, pidStartTime);
}

/** `machine start` (src/cli/vm_common.rs `start_vm_named_with_db`). */
export async function startMachine(release: Release, host: Host, store: Store, name: string): Promise<void> {
  store.expect(name);
  using _ = await store.lock(name);
  const record = store.expect(name);
  const state = await stateOf(store, record);
  if (state === 'running') return say(`Machine '${name}' already running (PID: ${record.pid})\n`);
  if (record.network) throw new NotPartOfDouble('a machine with a network');
  const directory = store.directoryOf(name);
  await killBootProcess(directory);
  const mounts = record.volumes.length === 0 ? '' : ` with ${record.volumes.length} mount(s)`;
  process.stderr.write(`Starting machine '${name}'${mounts}...\n`);

  const pid = await boot(release, host, directory, record).catch((error: unknown) => {
    throw SmolvmError.agent('start machine', (error as Error).message);
  });
  const answer = await answerOf(join(directory, 'agent.sock'), { op: 'workload' }, workloadMs);
  if (answer?.kind !== 'k') {
    await killBootProcess(directory);
    const words = answer?.data.toString('utf8') ?? 'connection closed by agent';
    throw SmolvmError.agent(
      'start background CMD',
      `agent operation failed: run detached container: ${words}`,
    );
  }
  say(`Machine '${name}' running (PID: ${pid})\n`);
  store.write({ ...record, state: 'running', pid, pidStartTime: startTimeOf(pid) });
}

async function boot(release: Release, host: Host, directory: string, record: MachineRecord): Promise<number> {
  host.checkKvm();
  const socket = join(directory, 'agent.sock');
  const config = join(directory, 'boot-config.json');
  rmSync(socket, { force: true });
  const hostname =
    release.since('1.9.0') && /^(?!-)[a-z0-9-]{1,63}(?<!-)$/.test(record.name) ? record.name : 'container';
  writeFileSync(config, JSON.stringify({ socket, machine: record, hostname } satisfies BootConfig));
  host.checkReach(socket);
  const log = openSync(join(directory, 'agent-console.log'), 'w');
  const own = ['--net', '--ipc', '--uts', '--mount', '--propagation', 'slave', '--'];
  const child = spawn(
    'unshare',
    [...own, process.execPath, ...process.execArgv, process.argv[1] ?? '', '_boot-vm', config],
    { detached: true, stdio: ['ignore', log, log], cwd: '/' },
  );
  await once(child, 'spawn');
  closeSync(log);
  const pid = child.pid ?? 0;
  writeFileSync(join(directory, 'agent.pid'), `${pid}\n${startTimeOf(pid)}`);
  if (process.env.FAKE_SMOLVM_FAIL === 'start-137' && isFirst(directory))
    process.kill(process.pid, 'SIGKILL');

  const until = Date.now() + readyMs;
  while (Date.now() < until && child.exitCode === null && child.signalCode === null) {
    if (existsSync(socket) && (await answerOf(socket, { op: 'ping' }, readyMs)) !== undefined) {
      child.unref();
      return pid;
    }
    await sleep(2);
  }
  await killBootProcess(directory);
  throw SmolvmError.agent('wait for ready', 'agent did not become ready within 30 seconds');
}

function isFirst(directory: string): boolean {
  const path = join(directory, 'killed-once');
  if (existsSync(path)) return false;
  writeFileSync(path, '');
  return true;
}

/** Kills what `agent.pid` names, if it still is this machine's, and waits until it and its containers are gone. */
export async function killBootProcess(directory: string): Promise<void> {
  const { pid, isAlive: runs } = bootProcess(directory);
  if (runs) {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has just ended.
    }
    while (bootProcess(directory).isAlive) await sleep(2);
  }
  await cgroupsGone(directory);
}

function bootProcess(directory: string): { pid: number; isAlive: boolean } {
  const [pid = '', started = ''] = textOf(join(directory, 'agent.pid')).split('\n');
  return { pid: Number(pid), isAlive: isAlive(Number(pid), started.trim()) };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** `machine stop` (src/cli/vm_common.rs `stop_vm_named`). */
export async function stopMachine(store: Store, name: string): Promise<void> {
  store.expect(name);
  using _ = await store.lock(name);
  const record = store.expect(name);
  const state = await stateOf(store, record);
  const directory = store.directoryOf(name);
  if (state === 'running') say(`Stopping machine '${name}'...\n`);
  await killBootProcess(directory);
  if (state !== 'running' && state !== 'unreachable') {
    return say(`Machine '${name}' is not running (state: ${state})\n`);
  }
  store.write({ ...record, state: 'stopped', pid: null, pidStartTime: null });
  say(`Stopped machine: ${name}\n`);
}

/** `machine delete`: stops first and asks then (src/cli/vm_common.rs `delete_vm`). */
export async function deleteMachine(store: Store, name: string, force: boolean): Promise<void> {
  store.expect(name);
  using _ = await store.lock(name);
  const record = store.expect(name);
  const directory = store.directoryOf(name);
  const state = await stateOf(store, record);
  if (state === 'running') say(`Stopping machine '${name}'...\n`);
  // A process that no record tells of, left by a killed start, stays; only start and stop look for it.
  if (state === 'running' || state === 'unreachable') await killBootProcess(directory);
  if (!bootProcess(directory).isAlive) await cgroupsGone(directory);
  if (!force) {
    process.stderr.write(`Delete machine '${name}'? [y/N] `);
    if (!/^\s*(y|yes)\s*$/i.test(await lineOfInput())) return say('Cancelled\n');
  }
  say(`Cleaning up data directory for vm: ${name}\n`);
  for (const entry of readdirSync(directory)) {
    if (entry !== 'machine.json') rmSync(join(directory, entry), { recursive: true, force: true });
  }
  // The record last: what could not be removed stays visible.
  rmSync(directory, { recursive: true, force: true });
  say(`Deleted machine: ${name}\n`);
}

async function lineOfInput(): Promise<string> {
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) {
    lines.close();
    process.stdin.destroy();
    return line;
  }
  return '';
}
