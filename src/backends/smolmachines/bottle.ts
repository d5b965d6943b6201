import { constants } from 'node:os';
import { rm } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { type RunResult, stream } from '../../process/run.ts';
import { tied } from '../../process/tied.ts';
import { MachineFailed } from '../../smolvm/errors.ts';
import type { MachineInfo } from '../../smolvm/machine.ts';
import type { Machines } from '../../smolvm/machines.ts';
import type {
  Account,
  Bottle,
  BottleStatus,
  ExecOptions,
  ExecResult,
  ForegroundCommand,
  Streaming,
} from '../backend.ts';
import { BottleGone, BottleNotRunning } from '../errors.ts';
import { execArguments, type Identity } from '../init-arguments.ts';
import { label } from '../labels.ts';
import { captured, later } from '../later.ts';
import { tiedInput } from '../tied-input.ts';
import { askBroker, signalThroughBroker } from './ask-broker.ts';
import { type BottleFile, readBottleFile } from './bottle-file.ts';
import { type BottlePlace, diskBytesBelow } from './bottle-place.ts';
import { type FilesOf, getFiles, putFiles } from './files.ts';
import type { HeldSession } from './held-session.ts';
import { initPath, machineName } from './names.ts';
import { attachCommand, directCommand } from './session-command.ts';
import { lastOutputIn, readSessionLog } from './session-log.ts';
import { awaitMachine, bootMachine } from './settle.ts';
import { readStanding, type Standing } from './standing.ts';

const pollMs = 100;

/** A bottle that is a machine of smolvm's. */
export class MachineBottle implements Bottle {
  readonly slug: string;
  readonly #machines: Machines;
  readonly #place: BottlePlace;
  readonly #held: HeldSession;
  readonly #name: string;
  #file: BottleFile | undefined;

  constructor(machines: Machines, slug: string, place: BottlePlace, held: HeldSession) {
    this.slug = slug;
    this.#machines = machines;
    this.#place = place;
    this.#held = held;
    this.#name = machineName(slug);
  }

  /** Nothing of ours is there but the session's socket, which every start makes anew. */
  restore(): Promise<void> {
    return Promise.resolve();
  }

  async start(signal?: AbortSignal): Promise<void> {
    const file = await this.#known();
    await this.#raise(signal);
    const broker = await this.#held.open(file);
    await broker.start();
  }

  attach(how: 'start' | 'join'): Promise<ForegroundCommand> {
    return Promise.resolve(attachCommand(this.#place.sessionSocket, how));
  }

  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    await using program = this.stream(argv, options);
    return await captured(program);
  }

  stream(argv: readonly string[], options: ExecOptions = {}): Streaming {
    const { timeoutMs, signal } = options;
    return later(
      async () => {
        const identity = await this.#whoAmI();
        signal?.throwIfAborted();
        const words = [initPath, ...execArguments(argv, identity, { ...options, tied: true })];
        const { command, args, env } = this.#machines.execCommand(this.#name, words, { stdin: true });
        const input = tiedInput(options.env ?? {}, options.input ?? '');
        const child = stream(command, args, { env, cwd: '/', input, holdInput: true });
        const limits = {
          ...(timeoutMs === undefined ? {} : { timeoutMs }),
          ...(signal === undefined ? {} : { signal }),
        };
        return tied(child, { input, called: argv[0] ?? '', ...limits }, (result) => this.#judge(result));
      },
      (error) => error,
    );
  }

  async foreground(
    argv: readonly string[],
    options: Pick<ExecOptions, 'as' | 'workdir' | 'signal'> & { readonly terminal: boolean },
  ): Promise<ForegroundCommand> {
    const kind = options.terminal ? 'terminal' : 'pipes';
    const identity = await this.#whoAmI();
    const words = [
      initPath,
      ...execArguments(argv, identity, { ...options, asksVariables: true, session: kind }),
    ];
    return directCommand(kind, this.#machines.execCommand(this.#name, words, { stdin: true }));
  }

  async account(): Promise<Account> {
    return (await this.#known()).account;
  }

  async copyIn(tar: Readable, directory: string, signal?: AbortSignal): Promise<void> {
    try {
      await this.#raise(signal);
      await putFiles(this.#files, tar, directory, signal);
    } finally {
      tar.destroy();
    }
  }

  async copyOut(path: string, signal?: AbortSignal): Promise<Streaming> {
    await this.#raise(signal);
    return await getFiles(this.#files, path, signal);
  }

  logs(options: {
    readonly follow: boolean;
    readonly tail?: number;
    readonly signal?: AbortSignal;
  }): Streaming {
    return later(
      async () => {
        await this.#known();
        const isOver = async () => {
          const standing = await this.#standing();
          return standing === undefined || standing.state === 'exited';
        };
        return readSessionLog(this.#place.directory, { ...options, isOver });
      },
      (error) => error,
    );
  }

  async lastOutput(): Promise<Date | undefined> {
    await this.#known();
    return await lastOutputIn(this.#place.directory);
  }

  async status(signal?: AbortSignal): Promise<BottleStatus | undefined> {
    if ((await this.#machine(signal)) === undefined) return undefined;
    const held = await this.#standing();
    const { state, exitCode, startedAt } = held ?? (await readStanding(this.#place.directory));
    const started = startedAt === undefined ? {} : { startedAt };
    if (state === 'created') return { state };
    if (state === 'running' && held !== undefined) return { state, ...started };
    // Where nobody holds it who could tell more, it is as its last holder left it.
    return { state: 'exited', ...(exitCode === undefined ? {} : { exitCode }), ...started };
  }

  async diskUse(): Promise<number> {
    const { diskBytes } = await this.#known();
    const now = await diskBytesBelow(await this.#machines.dataDirectory(this.#name));
    return Math.max(0, now - diskBytes);
  }

  async stop(graceMs: number): Promise<void> {
    if (this.#held.broker === undefined) {
      if ((await this.#machine()) === undefined) return;
      await this.#endElsewhere(graceMs);
    }
    await this.#held.stop(graceMs);
  }

  async remove(): Promise<void> {
    const found = await this.#machines.status(this.#name);
    // One that is still being made is in no list, and who makes it may outlive whoever asked for it.
    if (found === undefined || this.#isOurs(found)) await this.#machines.delete(this.#name);
    await this.#held.drop();
    await rm(this.#place.directory, { recursive: true, force: true });
    await rm(this.#place.initDirectory, { recursive: true, force: true });
    await rm(this.#place.sessionSocket, { force: true });
  }

  /** Asks a session that another process holds to end in its own time. */
  async #endElsewhere(graceMs: number): Promise<void> {
    const path = this.#place.sessionSocket;
    if (graceMs <= 0 || (await askBroker(path))?.state !== 'running') return;
    await signalThroughBroker(path, constants.signals.SIGTERM);
    for (const until = Date.now() + graceMs; Date.now() < until; await sleep(pollMs)) {
      if ((await askBroker(path))?.state !== 'running') return;
    }
  }

  /** As whoever holds the session tells; `undefined`: nobody does. */
  async #standing(): Promise<Standing | undefined> {
    return this.#held.broker?.standing ?? (await askBroker(this.#place.sessionSocket));
  }

  /** As smolvm tells; `undefined`: there is none, or one that has its name and not its label, and is somebody else's. */
  async #machine(signal?: AbortSignal): Promise<MachineInfo | undefined> {
    const found = await this.#machines.status(this.#name, signal);
    return found !== undefined && this.#isOurs(found) ? found : undefined;
  }

  #isOurs({ labels }: MachineInfo): boolean {
    return labels[label.slug] === this.slug;
  }

  /** Makes the machine run if it does not. */
  async #raise(signal: AbortSignal | undefined): Promise<void> {
    if (this.#held.isUp) return;
    const found = await this.#machine(signal);
    if (found === undefined) throw new BottleGone({ slug: this.slug });
    if (found.state !== 'running') {
      await bootMachine(this.#machines, this.slug, signal);
      await awaitMachine(this.#machines, this.slug, signal);
    }
    this.#held.isUp = true;
  }

  get #files(): FilesOf {
    return { machines: this.#machines, slug: this.slug, judge: (result) => this.#judge(result) };
  }

  async #whoAmI(): Promise<Identity> {
    return (await this.#known()).identity;
  }

  /** @throws BottleGone */
  async #known(): Promise<BottleFile> {
    this.#file ??= await readBottleFile(this.#place.directory);
    if (this.#file === undefined) throw new BottleGone({ slug: this.slug });
    return this.#file;
  }

  /** @throws BottleGone or BottleNotRunning when it was smolvm that could not, and not the program that ended so. */
  async #judge(result: RunResult): Promise<RunResult> {
    const failed = await this.#machines.execFailure(this.#name, result);
    if (failed === undefined) return result;
    this.#held.isUp = false;
    if (!(failed instanceof MachineFailed) || failed.fields.cause !== 'not-running') throw failed;
    const isThere = (await this.#machine()) !== undefined;
    const slug = { slug: this.slug };
    throw isThere ? new BottleNotRunning(slug, { cause: failed }) : new BottleGone(slug, { cause: failed });
  }
}
