import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import * as v from 'valibot';
import { ifFits, int } from '../schema.ts';
import { ControlSocketUnusable, InitSilent } from './errors.ts';

/** What bottle-init says beside the reports of its probes (docs/bottle-init.md). */
const InitEvent = v.variant('event', [
  v.object({ event: v.literal('ready') }),
  v.object({ event: v.literal('started') }),
  v.object({ event: v.literal('exited'), status: v.pipe(int, v.minValue(0), v.maxValue(255)) }),
  v.object({
    event: v.literal('unrunnable'),
    status: v.pipe(int, v.minValue(0), v.maxValue(255)),
    detail: v.optional(v.pipe(v.string(), v.maxLength(1000)), ''),
  }),
]);

/** How the command of a bottle ended. `gone`: bottle-init itself is no more, and with it everything in the bottle. */
export type CommandEnd =
  | { readonly kind: 'exited'; readonly status: number }
  | { readonly kind: 'unrunnable'; readonly status: number; readonly detail: string }
  | { readonly kind: 'gone' };

/** All reports of the probes come to less, and so does every line after them. */
const maxText = 256 * 1024;
const maxPath = 107;

/**
 * The host's side of the handshake with bottle-init: one connection and no other. As soon as it is there the socket is
 * closed and removed, so that nothing in the bottle can ever speak for bottle-init.
 */
export class InitChannel implements AsyncDisposable {
  /** What the probes reported; resolves when bottle-init holds and waits for its go. @throws InitSilent */
  readonly ready: Promise<string>;
  /** Never rejects. */
  readonly ended: Promise<CommandEnd>;
  /** Resolves when bottle-init is no more: in a container, and with it everything there; in a machine, the session. */
  readonly gone: Promise<void>;
  readonly #server: Server;
  readonly #path: string;
  #socket: Socket | undefined;
  #joined: number | undefined;
  #text = '';
  #report = '';
  #isReady = false;
  #onReady: (report: string) => void = () => undefined;
  #onSilent: (failure: InitSilent) => void = () => undefined;
  #onEnd: (end: CommandEnd) => void = () => undefined;
  #onGone: () => void = () => undefined;

  private constructor(path: string) {
    this.#path = path;
    this.ready = new Promise((resolve, reject) => {
      this.#onReady = resolve;
      this.#onSilent = reject;
    });
    this.ready.catch(() => undefined);
    this.ended = new Promise((resolve) => (this.#onEnd = resolve));
    this.gone = new Promise((resolve) => (this.#onGone = resolve));
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = 1;
  }

  /** @throws ControlSocketUnusable */
  static async listen(path: string): Promise<InitChannel> {
    if (Buffer.byteLength(path) > maxPath) throw new ControlSocketUnusable({ path, code: 'ENAMETOOLONG' });
    await rm(path, { force: true });
    const channel = new InitChannel(path);
    try {
      await new Promise<void>((resolve, reject) => {
        channel.#server.once('error', reject);
        channel.#server.listen(path, resolve);
      });
      // The user in the bottle is another one than ours; on the host a directory above keeps others out.
      await chmod(path, 0o666);
    } catch (error) {
      channel.#server.close();
      throw new ControlSocketUnusable({ path, code: (error as NodeJS.ErrnoException).code ?? 'unknown' });
    }
    return channel;
  }

  /** When bottle-init was there, of `performance.now()`: its probes begin then. */
  get joined(): number | undefined {
    return this.#joined;
  }

  /** Lets the command start, with these variables laid over those it has anyway. Never on a command line or a disk. */
  go(env: Readonly<Record<string, string>>): void {
    this.#socket?.write(goMessage(env));
  }

  /** Lets bottle-init end; before `go`, without the command having run. */
  end(): void {
    this.#socket?.write('end\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#socket?.destroy();
    this.#gone();
    await rm(this.#path, { force: true });
  }

  #accept(socket: Socket): void {
    if (this.#socket !== undefined) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    this.#joined = performance.now();
    this.#server.close();
    void rm(this.#path, { force: true }).catch(() => undefined);
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#read(text));
    socket.on('error', () => undefined);
    socket.on('close', () => this.#gone());
  }

  #read(text: string): void {
    this.#text += text;
    for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
      this.#line(this.#text.slice(0, end));
      this.#text = this.#text.slice(end + 1);
    }
    // Nobody honest says so much, so nobody honest is at the other end.
    if (this.#text.length + this.#report.length > maxText) this.#socket?.destroy();
  }

  #line(line: string): void {
    const event = ifFits(InitEvent, parseJson(line));
    if (event === undefined) {
      if (!this.#isReady) this.#report += `${line}\n`;
      return;
    }
    switch (event.event) {
      case 'ready':
        this.#isReady = true;
        this.#onReady(this.#report);
        return;
      case 'started':
        return;
      case 'exited':
        this.#onEnd({ kind: 'exited', status: event.status });
        return;
      case 'unrunnable':
        this.#onEnd({ kind: 'unrunnable', status: event.status, detail: event.detail });
    }
  }

  #gone(): void {
    this.#onSilent(new InitSilent({}));
    this.#onEnd({ kind: 'gone' });
    this.#onGone();
  }
}

/** The message that carries an environment (docs/bottle-init.md). */
export function goMessage(env: Readonly<Record<string, string>>): Buffer {
  const entries = Buffer.from(
    Object.entries(env)
      .map(([name, value]) => `${name}=${value}\0`)
      .join(''),
  );
  return Buffer.concat([Buffer.from(`go ${entries.length}\n`), entries]);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
