import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { temporary, until } from './guest.ts';

export interface Event {
  readonly event?: string;
  readonly status?: number;
  readonly detail?: string;
  readonly check?: string;
  readonly outcome?: string;
}

/** The other end of the control connection, as whoever makes a bottle has it. */
export class Supervisor implements AsyncDisposable {
  /** On the host; a bottle mounts it. */
  readonly directory: string;
  readonly socketPath: string;
  /** Everything that was said so far, line by line. */
  readonly heard: string[] = [];
  hasEnded = false;
  connections = 0;
  readonly #remove: () => Promise<void>;
  readonly #server: Server;
  #socket: Socket | undefined;

  private constructor(directory: string, server: Server, remove: () => Promise<void>) {
    this.directory = directory;
    this.socketPath = join(directory, 'control.sock');
    this.#server = server;
    this.#remove = remove;
  }

  static async listen(): Promise<Supervisor> {
    const directory = await temporary();
    const server = createServer({ allowHalfOpen: true });
    const supervisor = new Supervisor(directory.path, server, () => directory[Symbol.asyncDispose]());
    server.on('connection', (socket) => supervisor.#take(socket));
    server.listen(supervisor.socketPath);
    await once(server, 'listening');
    await chmod(directory.path, 0o755);
    await chmod(supervisor.socketPath, 0o666);
    return supervisor;
  }

  #take(socket: Socket): void {
    this.connections += 1;
    this.#socket = socket;
    // One bottle, one connection: what runs in it finds nobody here.
    this.#server.close();
    let rest = '';
    socket.setEncoding('utf8').setNoDelay();
    socket.on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      this.heard.push(...lines);
    });
    socket.on('end', () => (this.hasEnded = true));
    socket.on('error', () => (this.hasEnded = true));
  }

  get events(): Event[] {
    return this.heard.map((line) => JSON.parse(line) as Event);
  }

  /** Waits for this event. Fails when the connection ends without it. */
  async hears(event: string): Promise<Event> {
    return until(() => {
      const found = this.events.find((one) => one.event === event);
      if (found === undefined && this.hasEnded) assert.fail(`ended after ${this.heard.join(' ')}`);
      return found;
    });
  }

  async socket(): Promise<Socket> {
    return until(() => this.#socket);
  }

  async send(bytes: string | Buffer): Promise<void> {
    const socket = await this.socket();
    await new Promise((resolve) => socket.write(bytes, resolve));
  }

  /** Waits until the bottle is ready, and starts its command with this laid over its environment. */
  async go(env: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.hears('ready');
    await this.send(goMessage(Object.entries(env).map(([name, value]) => `${name}=${value}`)));
  }

  async hangUp(): Promise<void> {
    (await this.socket()).destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket?.destroy();
    this.#server.close();
    await this.#remove();
  }
}

export function goMessage(entries: readonly string[]): Buffer {
  const body = Buffer.from(entries.map((entry) => `${entry}\0`).join(''));
  return Buffer.concat([Buffer.from(`go ${body.length}\n`), body]);
}
