import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { type Daemon, startDaemon } from '../../process/daemon.ts';
import { Tail } from '../../process/run.ts';
import type { ForegroundCommand } from '../backend.ts';
import type { SessionKind } from '../init-arguments.ts';
import { BrokerClient } from './broker-client.ts';
import { type Frame, frame, frameTypes, framesOf, windowFrame } from './frames.ts';
import { SessionLog } from './session-log.ts';
import { type Standing, writeStanding } from './standing.ts';

/** What to think of it, after smolvm's own words. */
const machineGone =
  'the machine ended under its command: its memory ran out (--memory gives it more), or it was killed from outside';
/** As SIGKILL leaves it. */
const killed = 137;
/** What a terminal has that nobody has told a size. */
const defaultWindow = { rows: 24, columns: 80 } as const;
/** Of what clients say before the command is there, and of what they have not taken yet. */
const maxWaiting = 1024 * 1024;

export interface SessionOptions {
  /** Where clients come to. */
  readonly socketPath: string;
  /** Of the log, and of how the session stands. */
  readonly directory: string;
  readonly kind: SessionKind;
  /** Without it the command's standard input ends at once. */
  readonly takesInput: boolean;
  /** Runs bottle-init in the machine, with a session on its streams. */
  readonly command: ForegroundCommand;
  /** Whether the machine is no more, and what the program says of the end of the command with it. */
  readonly isMachineGone: () => Promise<boolean>;
}

/**
 * Holds the one connection to a bottle's command, for as many as want to be attached to it. The command lives as long as
 * the process that holds this: its standard input ends with it, and bottle-init then ends the command.
 */
export class SessionBroker implements AsyncDisposable {
  readonly #options: SessionOptions;
  readonly #log: SessionLog;
  readonly #server: Server;
  readonly #clients = new Set<BrokerClient>();
  #standing: Standing = { state: 'created' };
  #starting: Promise<void> | undefined;
  #daemon: Daemon | undefined;
  #ended: Promise<void> = Promise.resolve();
  #waiting: Buffer[] = [];
  #hasWindow = false;
  #isForced = false;
  #disposing: Promise<void> | undefined;

  private constructor(options: SessionOptions, log: SessionLog) {
    this.#options = options;
    this.#log = log;
    this.#server = createServer((socket) => {
      const client = new BrokerClient(socket, {
        hear: (frame) => this.#hear(client, frame),
        drained: () => this.#pace(),
        gone: () => {
          this.#clients.delete(client);
          this.#pace();
        },
      });
      this.#clients.add(client);
    });
    // Who waits for the bottle holds the process; a socket that nobody comes to does not.
    this.#server.unref();
  }

  static async listen(options: SessionOptions): Promise<SessionBroker> {
    const broker = new SessionBroker(options, await SessionLog.open(options.directory));
    await rm(options.socketPath, { force: true });
    try {
      await new Promise<void>((resolve, reject) => {
        broker.#server.once('error', reject);
        broker.#server.listen(options.socketPath, resolve);
      });
      await chmod(options.socketPath, 0o600);
    } catch (error) {
      await broker[Symbol.asyncDispose]();
      throw error;
    }
    return broker;
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** Resolves when the command that runs now has ended; at once when none does. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Starts the command; one that has been started is left as it is. @throws what spawn(2) says */
  async start(): Promise<void> {
    this.#starting ??= this.#run();
    await this.#starting;
  }

  /** To the command's process group. */
  signal(number: number): void {
    this.#write(frame('signal', Uint8Array.of(number)));
  }

  /** Nobody is there any more: bottle-init ends the command, and then itself. */
  hangUp(): void {
    this.#daemon?.stdin.end();
  }

  /** What happens to the command from now on is by force. */
  expectForce(): void {
    this.#isForced = true;
  }

  /** Ends the program that holds the connection, whatever becomes of the command. */
  kill(): void {
    this.#daemon?.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposing ??= this.#dispose();
    await this.#disposing;
  }

  async #dispose(): Promise<void> {
    this.#server.close();
    this.kill();
    // What such a one has not taken would hold back the program's last words, and so its end.
    for (const client of this.#clients) if (client.isBehind) client.drop();
    await this.#ended;
    for (const client of this.#clients) client.end();
    this.#log[Symbol.dispose]();
    await rm(this.#options.socketPath, { force: true });
  }

  async #run(): Promise<void> {
    const { command, takesInput, kind } = this.#options;
    const daemon = await startDaemon(command.command, command.args, { cwd: '/', env: command.env });
    this.#daemon = daemon;
    this.#stand({ state: 'running', startedAt: new Date().toISOString() });
    const said = new Tail(4096);
    daemon.stdout.on('data', (bytes: Buffer) => this.#tell('output', bytes));
    daemon.stderr.on('data', (bytes: Buffer) => {
      said.push(bytes);
      this.#tell('error', bytes);
    });
    this.#ended = daemon.ended.then(async (code) => {
      this.#end(await this.#judge(code, said.end()));
    });
    if (kind === 'terminal' && !this.#hasWindow) {
      daemon.stdin.write(windowFrame(defaultWindow.rows, defaultWindow.columns));
    }
    for (const bytes of this.#waiting) daemon.stdin.write(bytes);
    this.#waiting = [];
    if (!takesInput) daemon.stdin.write(frame('end'));
    daemon.stdin.on('drain', () => this.#pace());
    this.#pace();
  }

  /** smolvm's own failure looks like a command's (v0.8.0 to v1.9.3, src/cli/machine.rs); whether the machine runs tells. */
  async #judge(code: number, said: string): Promise<number> {
    if (this.#isForced) return killed;
    const isOwnFailure = code === 1 && /^error:/im.test(said);
    if (!isOwnFailure || !(await this.#options.isMachineGone().catch(() => false))) return code;
    this.#tell('error', Buffer.from(`claude-bottle: ${machineGone}\n`));
    return killed;
  }

  #end(exitCode: number): void {
    this.#daemon = undefined;
    this.#stand({ ...this.#standing, state: 'exited', exitCode });
    for (const client of this.#clients) if (client.isAttached) client.exit(exitCode);
  }

  #stand(standing: Standing): void {
    this.#standing = standing;
    try {
      writeStanding(this.#options.directory, standing);
    } catch {
      // On a full disk, whoever asks us still hears it.
    }
  }

  #hear(client: BrokerClient, { type, payload }: Frame): void {
    switch (type) {
      case frameTypes.attach:
        return this.#attach(client, payload.toString('latin1') === 'start');
      case frameTypes.query:
        return client.answer(JSON.stringify(this.#standing));
      case frameTypes.data:
        if (this.#options.takesInput) this.#write(frame('data', payload));
        return;
      case frameTypes.end:
        // Who only joined had no more to say; whoever started it has given it all its input.
        if (client.isStarter && this.#options.takesInput) this.#write(frame('end'));
        return;
      case frameTypes.window:
        // bottle-init takes what is malformed for the end of everybody.
        if (payload.length !== 4) return client.drop();
        this.#hasWindow = true;
        return this.#write(frame('window', payload));
      case frameTypes.signal:
        if (payload.length !== 1) return client.drop();
        return this.#write(frame('signal', payload));
      default:
        client.drop();
    }
  }

  #attach(client: BrokerClient, starts: boolean): void {
    client.attach(this.#options.kind, starts);
    const { state, exitCode } = this.#standing;
    if (state === 'exited') return client.exit(exitCode ?? killed);
    if (!starts) return;
    this.start().catch((error: unknown) => {
      client.send('error', Buffer.from(`${error instanceof Error ? error.message : String(error)}\n`));
      client.exit(127);
    });
  }

  #write(bytes: Buffer): void {
    if (this.#standing.state === 'exited') return;
    if (this.#daemon === undefined) this.#waiting.push(bytes);
    else this.#daemon.stdin.write(bytes);
    this.#pace();
  }

  #tell(name: 'output' | 'error', bytes: Buffer): void {
    this.#log.append(bytes);
    const frames = framesOf(name, bytes);
    for (const client of this.#clients) if (client.isAttached) client.write(frames);
    this.#pace();
  }

  /** Neither side is read faster than the other takes it. */
  #pace(): void {
    const waits = this.#waiting.reduce((sum, { length }) => sum + length, 0) > maxWaiting;
    const isFull = waits || this.#daemon?.stdin.writableNeedDrain === true;
    const isBehind = [...this.#clients].some((client) => client.isBehind);
    for (const client of this.#clients) client.pause(isFull);
    for (const output of [this.#daemon?.stdout, this.#daemon?.stderr]) {
      if (isBehind) output?.pause();
      else if (output?.isPaused() === true) output.resume();
    }
  }
}
