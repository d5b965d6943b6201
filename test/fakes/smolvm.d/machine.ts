import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Guest, type PullRequest } from './guest.ts';
import type { BootConfig } from './holder.ts';
import { chosenRelease, rustWords } from './release.ts';

/** What the CLI asks of the VM, one line of JSON a connection. */
export type Request =
  | { readonly op: 'ping' }
  | ({ readonly op: 'pull' } & PullRequest)
  | { readonly op: 'merge'; readonly layers: readonly string[] }
  | { readonly op: 'export'; readonly layer: string };

export interface ImageInfo {
  readonly digest: string;
  readonly layers: readonly string[];
  readonly size: number;
  readonly architecture: string;
  readonly os: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly workdir?: string;
}

/** What the VM answers: any number of lines, then, for an export, the bytes themselves. */
export type Answer =
  | { readonly kind: 'progress'; readonly done: number; readonly of: number; readonly layer: string }
  | { readonly kind: 'image'; readonly image: ImageInfo }
  | { readonly kind: 'data' }
  | { readonly kind: 'ok' }
  | { readonly kind: 'error'; readonly message: string };

/** Nothing that a test leaves behind lives longer than this. */
const defaultLifetimeSeconds = 600;

/**
 * The stand-in for a VM: a process of its own, leader of its own group, that answers on a Unix socket in its directory, as
 * the agent in a guest does, and knows nothing of whether the CLI that started it still lives.
 */
export async function runMachine(configPath: string): Promise<void> {
  const directory = dirname(configPath);
  const config = JSON.parse(await readFile(configPath, 'utf8')) as { socket: string } | BootConfig;
  if ('machine' in config) {
    const { holdMachine } = await import('./holder.ts');
    return holdMachine(configPath, config);
  }
  const { socket } = config;
  const lifetime = Number(process.env.FAKE_SMOLVM_VM_SECONDS ?? defaultLifetimeSeconds);
  setTimeout(endGroup, lifetime * 1000);
  process.on('SIGTERM', endGroup);

  const disk = join(directory, 'disk');
  await mkdir(disk, { recursive: true });
  const guest = new Guest(disk, chosenRelease());
  const server = createServer((connection) => {
    connection.on('error', () => undefined);
    void serve(guest, connection).finally(() => connection.end());
  });
  server.listen(socket);
  await once(server, 'listening');
  await writeFile(join(directory, 'agent-console.log'), 'agent ready\n');
}

/** A guest's processes go with it; here they are children in the same group. */
function endGroup(): void {
  process.kill(-process.pid, 'SIGKILL');
}

async function serve(guest: Guest, connection: Socket): Promise<void> {
  const say = (answer: Answer) => void connection.write(`${JSON.stringify(answer)}\n`);
  try {
    const [line] = (await once(createInterface({ input: connection }), 'line')) as [string];
    const request = JSON.parse(line) as Request;
    if (process.env.FAKE_SMOLVM_FAIL === 'hang' && request.op === 'pull') await new Promise(() => undefined);
    switch (request.op) {
      case 'ping':
        return say({ kind: 'ok' });
      case 'pull': {
        const image = await guest.pull(request, async (done, of, layer) => {
          say({ kind: 'progress', done, of, layer });
          await sleep(Number(process.env.FAKE_SMOLVM_DELAY_MS ?? 0));
        });
        return say({ kind: 'image', image });
      }
      case 'merge':
        await guest.merge(request.layers);
        return say({ kind: 'ok' });
      case 'export':
        say({ kind: 'data' });
        return await guest.export(request.layer, connection);
    }
  } catch (error) {
    say({ kind: 'error', message: rustWords(error) });
  }
}

/** Starts the VM process with its files in `directory`. It outlives us unless it is stopped. */
export async function spawnMachine(directory: string, name: string): Promise<ChildProcess> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const config = join(directory, 'boot-config.json');
  const socket = join(directory, 'agent.sock');
  await writeFile(join(directory, 'name'), name);
  await writeFile(config, JSON.stringify({ socket }));
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? '', '_boot-vm', config], {
    detached: true,
    stdio: 'ignore',
  });
  await once(child, 'spawn');
  const started = (await readFile(`/proc/${child.pid}/stat`, 'latin1').catch(() => ''))
    .split(') ')
    .pop()
    ?.split(' ')[19];
  await writeFile(join(directory, 'agent.pid'), `${child.pid}\n${started ?? 0}`);
  return child;
}

/** Stops the VM and removes its files, in this order. */
export async function removeMachine(child: ChildProcess, directory: string): Promise<void> {
  const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
  if (ended !== undefined && child.pid !== undefined) {
    process.kill(-child.pid, 'SIGKILL');
    await ended;
  }
  await rm(directory, { recursive: true, force: true, maxRetries: 5 });
}
