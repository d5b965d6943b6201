import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stream } from '../../src/process/run.ts';

/** A server under test. Disposing ends it. */
export interface Running extends AsyncDisposable {
  readonly pid: number;
}

/** Flags that the gate's process runs with: docs/benchmarks.md, "Memory". */
export const gateFlags: readonly string[] = ['--max-semi-space-size=1'];

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts a program that goes on running, and waits until it listens. @throws Error with its words if it ends. */
async function serve(
  command: string,
  args: readonly string[],
  where: { readonly port: number } | { readonly path: string },
  signal: AbortSignal,
): Promise<Running> {
  const started = Promise.withResolvers<number>();
  const child = stream(command, args, { signal, onStart: (pid) => started.resolve(pid) });
  child.stdout.on('data', () => undefined);
  let words: string | undefined;
  void child.done.then(
    ({ code, stderr }) => (words = `ended with ${code}: ${stderr.slice(-1000)}`),
    (error: unknown) => (words = String(error)),
  );
  while (!(await answers(where))) {
    signal.throwIfAborted();
    if (words !== undefined) throw new Error(`${command} ${words}`);
    await sleep(50);
  }
  const pid = await started.promise;
  return {
    pid,
    async [Symbol.asyncDispose]() {
      // Asked first: squid leaves shared memory behind when it is killed.
      if (words === undefined) process.kill(pid, 'SIGTERM');
      await Promise.race([child.done.catch(() => undefined), sleep(3000)]);
      await child[Symbol.asyncDispose]();
    },
  };
}

function answers(where: { readonly port: number } | { readonly path: string }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect('port' in where ? { ...where, host: '127.0.0.1' } : where);
    socket.on('error', () => resolve(false));
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}

/** The server behind all ways: its files are in memory, and what is uploaded goes there. */
export async function startNginx(
  directory: string,
  { port, socket }: { readonly port: number; readonly socket: string },
  files: Readonly<Record<string, Uint8Array>>,
  signal: AbortSignal,
): Promise<Running> {
  const root = join(directory, 'root');
  await mkdir(root, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(root, name), bytes);
  const config = join(directory, 'nginx.conf');
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  await writeFile(
    config,
    `${user} daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/nginx.log;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 10000000;
  client_max_body_size 0; client_body_buffer_size 256k; client_body_temp_path ${directory}/upload;
  server {
    listen 127.0.0.1:${port}; listen unix:${socket}; root ${root}; dav_methods PUT;
  }
}
`,
  );
  return serve(
    'nginx',
    ['-p', directory, '-c', config, '-e', join(directory, 'nginx.log')],
    { port },
    signal,
  );
}

export function startGate(
  modules: string,
  socket: string,
  log: string,
  signal: AbortSignal,
): Promise<Running> {
  const program = fileURLToPath(new URL('our-gate.mjs', import.meta.url));
  return serve(process.execPath, [...gateFlags, program, modules, socket, log], { path: socket }, signal);
}

/** bottle-init's relay, which stands before the gate in every bottle. */
export function startRelay(port: number, socket: string, signal: AbortSignal): Promise<Running> {
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const init = fileURLToPath(new URL(`../../guest/dist/bottle-init-${architecture}`, import.meta.url));
  return serve(init, ['--relay', `127.0.0.1:${port}=${socket}`, '--', 'sleep', 'infinity'], { port }, signal);
}

/** Without cache and without a log, which ours keeps. */
export async function startSquid(directory: string, port: number, signal: AbortSignal): Promise<Running> {
  const config = join(directory, 'squid.conf');
  await writeFile(
    config,
    `http_port 127.0.0.1:${port}
http_access allow all
cache deny all
cache_mem 0
access_log none
cache_log /dev/null
cache_store_log none
pid_filename none
coredump_dir ${directory}
visible_hostname bench
shutdown_lifetime 0 seconds
pinger_enable off
`,
  );
  return serve('squid', ['-N', '-f', config], { port }, signal);
}

export async function startTinyproxy(directory: string, port: number, signal: AbortSignal): Promise<Running> {
  const config = join(directory, 'tinyproxy.conf');
  await writeFile(
    config,
    `Port ${port}\nListen 127.0.0.1\nMaxClients 200\nTimeout 600\nLogFile "${directory}/tinyproxy.log"\nLogLevel Critical\n`,
  );
  return serve('tinyproxy', ['-d', '-c', config], { port }, signal);
}

/** Bodies are streamed, and tunnels passed on unread, as ours does. */
export function startMitmproxy(directory: string, port: number, signal: AbortSignal): Promise<Running> {
  const set = [
    `confdir=${join(directory, 'mitmproxy')}`,
    'stream_large_bodies=1',
    'flow_detail=0',
    'termlog_verbosity=error',
    'connection_strategy=lazy',
  ].flatMap((option) => ['--set', option]);
  const args = ['--listen-host', '127.0.0.1', '--listen-port', `${port}`, '--rawtcp', ...set];
  return serve('mitmdump', args, { port }, signal);
}
