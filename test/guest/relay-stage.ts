import { once } from 'node:events';
import { createServer, type Server, type Socket, connect } from 'node:net';
import { join } from 'node:path';
import { readFile } from 'node:fs/promises';
import { Running, temporary } from './guest.ts';

/** A port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** A relay that runs on this host, and the Unix socket behind it, on which nobody listens yet. */
export class Stage implements AsyncDisposable {
  readonly port: number;
  readonly socket: string;
  readonly init: Running;
  readonly #directory: Awaited<ReturnType<typeof temporary>>;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();

  private constructor(
    port: number,
    directory: Awaited<ReturnType<typeof temporary>>,
    command: readonly string[],
  ) {
    this.port = port;
    this.#directory = directory;
    this.socket = join(directory.path, 'gate.sock');
    const args = [
      `--relay=127.0.0.1:${port}=${this.socket}`,
      '--',
      'sh',
      '-c',
      'echo started; exec sleep infinity',
    ];
    const env = { ...process.env, ASAN_OPTIONS: 'detect_leaks=0', UBSAN_OPTIONS: 'print_stacktrace=1' };
    this.init = new Running(command[0]!, [...command.slice(1), ...args], env);
  }

  /** Starts bottle-init (the words before its arguments may name a program that runs it). */
  static async start(...command: string[]): Promise<Stage> {
    const stage = new Stage(await freePort(), await temporary(), command);
    await stage.init.says('started');
    return stage;
  }

  /** Answers every connection with this. */
  async serve(answer: (socket: Socket) => void, backlog = 511): Promise<Server> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      this.#track(socket);
      answer(socket);
    });
    this.#servers.push(server);
    server.listen({ path: this.socket, backlog });
    await once(server, 'listening');
    return server;
  }

  /** A client whose two directions end one by one. It reads only when told to. */
  async connect(): Promise<Socket> {
    const socket = connect({ port: this.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    this.#track(socket);
    await once(socket, 'connect');
    return socket;
  }

  /** What the relay itself has in memory, in kB. */
  async residentKilobytes(): Promise<number> {
    const status = await readFile(`/proc/${this.init.child.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]);
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  /** Hangs up on everybody. */
  async clear(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    for (const server of this.#servers.splice(0)) {
      server.close();
      await once(server, 'close');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clear();
    await this.init[Symbol.asyncDispose]();
    await this.#directory[Symbol.asyncDispose]();
  }
}
