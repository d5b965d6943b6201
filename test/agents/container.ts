import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ComposedAgent } from '../../src/agents/compose.ts';
import { homeTar } from '../../src/agents/home-tar.ts';
import { run, type RunResult } from '../../src/process/run.ts';
import { client } from '../tools/clients.ts';
import { must } from './example-image.ts';

const docker = client('docker');
const hostName = 'host.docker.internal';

export interface ContainerOptions {
  readonly image: string;
  readonly agent: Pick<ComposedAgent, 'command' | 'files' | 'env'>;
  readonly env?: Readonly<Record<string, string>>;
  /** With one, the host is `hostName`. None by default. */
  readonly network?: 'none' | 'bridge';
  readonly terminal?: boolean;
  readonly root?: boolean;
  readonly args?: readonly string[];
}

export interface Container extends AsyncDisposable {
  readonly id: string;
  /** Runs it to its end, without a terminal and without input. */
  run(): Promise<RunResult>;
}

/** A plain container in which a composed agent is placed as a bottle would place it. */
export async function container(options: ContainerOptions): Promise<Container> {
  const { agent, root = false } = options;
  const env = Object.entries({ ...agent.env, ...options.env });
  const id = await must([
    'create',
    ...['--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'],
    ...(options.network === 'bridge' ? ['--add-host', `${hostName}:host-gateway`] : ['--network', 'none']),
    ...(options.terminal === true ? ['--tty', '--interactive', '--env', 'TERM=xterm-256color'] : []),
    ...(root ? ['--user', '0', '--env', 'HOME=/root'] : []),
    ...env.flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    ...(options.args ?? []),
    options.image,
    ...agent.command,
  ]);
  const directory = await mkdtemp(join(tmpdir(), 'claude-bottle-home-'));
  try {
    const tar = join(directory, 'home.tar');
    const account = root ? { uid: 0, gid: 0 } : { uid: 1000, gid: 1000 };
    await pipeline(homeTar(agent.files, account, new Date(0)), createWriteStream(tar));
    const home = root ? '/root' : '/home/agent';
    const copied = await run('sh', ['-c', 'exec "$1" cp - "$2" < "$3"', 'sh', docker, `${id}:${home}`, tar]);
    if (copied.code !== 0) throw new Error(copied.stderr);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return {
    id,
    run: () => run(docker, ['start', '--attach', id], { deadlineMs: 120_000 }),
    async [Symbol.asyncDispose]() {
      await run(docker, ['rm', '--force', '--volumes', id]);
    },
  };
}

export interface Screen extends AsyncDisposable {
  /** Everything that was seen on the screen until now. */
  readonly seen: () => string;
  /** Waits until the screen shows this. */
  until(pattern: RegExp): Promise<string>;
  press(...keys: string[]): Promise<void>;
}

/** Starts a container on a terminal of its own, and watches what is drawn there. */
export async function screenOf({ id }: Container): Promise<Screen> {
  const socket = `claude-bottle-test-${randomBytes(4).toString('hex')}`;
  const tmux = (...args: string[]) => run('tmux', ['-L', socket, ...args]);
  const shots: string[] = [];
  // The shell keeps the last screen of a program that ends.
  const started = await tmux(
    ...['new-session', '-d', '-x', '120', '-y', '45'],
    `${docker} start --attach --interactive ${id}; echo "[ended: $?]"; exec cat`,
  );
  if (started.code !== 0) throw new Error(started.stderr);
  return {
    seen: () => shots.join('\n'),
    async until(pattern) {
      for (let tries = 0; tries < 300; tries++) {
        const { stdout } = await tmux('capture-pane', '-p');
        if (stdout !== shots.at(-1)) shots.push(stdout);
        if (pattern.test(stdout)) return stdout;
        if (stdout.includes('[ended: ')) break;
        await sleep(100);
      }
      throw new Error(`the screen never showed ${String(pattern)}, but:\n${shots.at(-1) ?? ''}`);
    },
    async press(...keys) {
      await tmux('send-keys', ...keys);
    },
    async [Symbol.asyncDispose]() {
      await tmux('kill-server');
    },
  };
}

export interface ApiDouble extends AsyncDisposable {
  /** As a container with a network reaches it. */
  readonly url: string;
  readonly requests: readonly {
    readonly path: string;
    readonly authorization: string;
    readonly body: string;
  }[];
}

/** Stands in for a model's API, which costs money: writes down what it is asked and declines. */
export async function apiDouble(): Promise<ApiDouble> {
  const requests: { path: string; authorization: string; body: string }[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { authorization, 'x-api-key': key } = request.headers;
      const body = Buffer.concat(parts).toString();
      const how = typeof key === 'string' ? key : (authorization ?? '');
      requests.push({ path: `${request.method} ${request.url}`, authorization: how, body });
      // Codex asks for a WebSocket first, and for nothing more if that is refused in another way than this one.
      response.writeHead(request.method === 'GET' ? 426 : 400, { 'content-type': 'application/json' });
      response.end(
        '{"type":"error","error":{"type":"invalid_request_error","message":"the double declines"}}',
      );
    });
  });
  server.listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${hostName}:${port}`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
