import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type AgentRequest, send } from './agent-protocol.ts';
import { makeCgroups, undertaker } from './cgroup.ts';
import { Containers } from './containers.ts';
import { runExec } from './exec-session.ts';
import { readFromGuest, writeToGuest } from './guest-files.ts';
import { writeKeepAlive } from './keep-alive.ts';
import { Pipes } from './pipes.ts';
import { relaySockets } from './socket-relay.ts';
import type { MachineRecord } from './store.ts';

/** What `machine start` hands to the VM process. */
export interface BootConfig {
  readonly socket: string;
  readonly machine: MachineRecord;
  /** The containers' host name: the machine's name since v1.9.0, `container` before (oci.rs `container_hostname`). */
  readonly hostname: string;
}

/** Nothing that a test leaves behind lives longer than this, in seconds. */
const defaultLifetime = 4 * 3600;

/**
 * The stand-in for a VM that runs a machine: a process of its own, leader of its own group, in network, mount, IPC and UTS
 * namespaces that end with it. It mounts the root file system, relays sockets and answers as the agent in the guest does.
 */
export async function holdMachine(configPath: string, config: BootConfig): Promise<void> {
  const directory = dirname(configPath);
  const { machine } = config;
  setTimeout(endGroup, Number(process.env.FAKE_SMOLVM_VM_SECONDS ?? defaultLifetime) * 1000);
  process.on('SIGTERM', endGroup);
  process.on('SIGINT', endGroup);

  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  const rootfs = mountRoot(directory, machine);
  const pidFile = join(directory, 'main.pid');
  rmSync(pidFile, { force: true });
  const cgroups = makeCgroups(directory, machine.mem);
  const [program, args] = undertaker(cgroups, pidFile);
  // Its input ends with us, however we end.
  spawn(program, args, { stdio: ['pipe', 'ignore', 'ignore'], detached: true, cwd: '/' }).unref();

  for (const name of readdirSync(directory)) if (name.startsWith('pipe-')) rmSync(join(directory, name));
  const keepAlive = join(directory, 'init');
  writeKeepAlive(keepAlive);
  const binds = await relaySockets(machine.sockets, join(directory, 's'));
  const containers = new Containers(
    { directory, rootfs, volumes: machine.volumes, binds, cgroups, hostname: config.hostname, keepAlive },
    pidFile,
  );

  const pipes = new Pipes(directory);
  await pipes.refill();
  const fail = process.env.FAKE_SMOLVM_FAIL ?? '';
  await sleep(Number(process.env.FAKE_SMOLVM_BOOT_MS ?? 0));
  if (fail === 'start-hang') return;
  const deathMs = /^die-after-ms=(\d+)$/.exec(fail)?.[1];
  if (deathMs !== undefined) setTimeout(endGroup, Number(deathMs));

  const guest: Guest = { containers, pipes, machine, rootfs };
  const server = createServer({ allowHalfOpen: true }, (connection) => {
    connection.on('error', () => undefined);
    firstLine(connection, (line) => {
      void serve(guest, connection, JSON.parse(line) as AgentRequest).catch((error: unknown) => {
        send(connection, 'f', (error as Error).message);
        connection.end();
      });
    });
  });
  server.listen(config.socket);
  await once(server, 'listening');
  appendFileSync(join(directory, 'agent-console.log'), 'agent ready\n');
}

interface Guest {
  readonly containers: Containers;
  readonly pipes: Pipes;
  readonly machine: MachineRecord;
  readonly rootfs: string;
}

async function serve(
  { containers, pipes, machine, rootfs }: Guest,
  connection: Socket,
  request: AgentRequest,
): Promise<void> {
  switch (request.op) {
    case 'ping':
      send(connection, 'k');
      return void connection.end();
    case 'workload': {
      const command = [...machine.entrypoint, ...machine.cmd];
      if (command.length > 0)
        await containers.startMain({ command, env: machine.env, workdir: machine.workdir });
      send(connection, 'k');
      return void connection.end();
    }
    case 'shutdown':
      return endGroup();
    case 'exec':
      return runExec(containers, pipes, connection, request);
    case 'write':
      return writeToGuest(rootfs, connection, request);
    case 'read':
      return readFromGuest(rootfs, connection, request.path);
  }
}

/** The machine's root: its layers below what it has written itself, which stays when it stops. */
function mountRoot(directory: string, machine: MachineRecord): string {
  const rootfs = join(directory, 'rootfs');
  const [upper, work] = [join(directory, 'overlay', 'upper'), join(directory, 'overlay', 'work')];
  for (const path of [rootfs, upper, work]) mkdirSync(path, { recursive: true });
  const lower = machine.layers.toReversed().join(':');
  const options = `nodev,lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', options, rootfs]);
  // crun takes a machine with both hierarchies for one that it does not know, and needs neither.
  if (existsSync('/sys/fs/cgroup/unified')) execFileSync('umount', ['-l', '/sys/fs/cgroup/unified']);
  return rootfs;
}

function firstLine(connection: Socket, use: (line: string) => void): void {
  let rest = Buffer.alloc(0);
  const onData = (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    const end = rest.indexOf(0x0a);
    if (end < 0) return;
    connection.off('data', onData);
    connection.pause();
    if (rest.length > end + 1) connection.unshift(rest.subarray(end + 1));
    use(rest.toString('utf8', 0, end));
  };
  connection.on('data', onData);
}

/** The guest's processes go with us: the undertaker sees to the containers. */
function endGroup(): void {
  process.kill(-process.pid, 'SIGKILL');
}
