import { execInContainer } from '../../engine/container-exec.ts';
import { getFiles, putFiles } from '../../engine/container-files.ts';
import { lastLogTime, readLogs } from '../../engine/container-logs.ts';
import {
  discardContainer,
  type InspectedContainer,
  inspectContainer,
  startContainer,
  startDirectory,
  stopContainer,
} from '../../engine/container-state.ts';
import { readContainerText } from '../../engine/container-text.ts';
import { type Engine, signalOf } from '../../engine/engine.ts';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import {
  type Account,
  type Bottle,
  type BottleStatus,
  type ExecOptions,
  type ExecResult,
  type ForegroundCommand,
  inside,
  letGo,
  type Streaming,
} from '../backend.ts';
import { BottleGone, UserUnknown } from '../errors.ts';
import { findAccount, namesGroup } from './account.ts';
import { failureOfBottle, inTermsOf } from './failures.ts';
import { execArguments, type Identity } from '../init-arguments.ts';
import { identityOf } from '../labels.ts';
import { containerName, hostsFile, hostsText } from './plan.ts';
import { captured, later } from '../later.ts';
import { tiedInput } from '../tied-input.ts';

/** What nobody types: pressed once it waits for a second key, and goes through. `docker attach` has no way to have none. */
const detachKeys = Array.from({ length: letGo.times }, () => letGo.key.toLowerCase()).join(',');

/** A bottle that is a container of Docker's or Podman's. */
export class ContainerBottle implements Bottle {
  readonly slug: string;
  readonly #engine: Engine;
  readonly #name: string;
  #identity: Promise<Identity> | undefined;

  /** @param identity known already when the bottle was just made; else the container's labels tell. */
  constructor(engine: Engine, slug: string, identity?: Identity) {
    this.slug = slug;
    this.#engine = engine;
    this.#name = containerName(slug);
    if (identity !== undefined) this.#identity = Promise.resolve(identity);
  }

  async restore(runDirectory: string): Promise<void> {
    await writeFile(join(runDirectory, hostsFile), hostsText(this.slug), { mode: 0o644 });
  }

  start(signal?: AbortSignal): Promise<void> {
    return this.#try(() => startContainer(this.#engine, this.#name, signalOf(signal)));
  }

  async attach(how: 'start' | 'join'): Promise<ForegroundCommand> {
    const verb = how === 'start' ? ['start', '--attach', '--interactive'] : ['attach'];
    const cwd = how === 'start' ? await startDirectory(this.#engine, this.#name) : undefined;
    return {
      command: this.#engine.command,
      args: [...verb, `--detach-keys=${detachKeys}`, this.#name],
      env: this.#engine.env,
      ...(cwd === undefined ? {} : { cwd }),
    };
  }

  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    await using program = this.stream(argv, options);
    return await captured(program);
  }

  stream(argv: readonly string[], options: ExecOptions = {}): Streaming {
    const { timeoutMs, signal } = options;
    return later(
      async () => {
        const identity = await this.#whoAmI(signal);
        return execInContainer(this.#engine, this.#name, {
          argv: [inside.init, ...execArguments(argv, identity, { ...options, tied: true })],
          input: tiedInput(options.env ?? {}, options.input ?? ''),
          called: argv[0] ?? '',
          ...(timeoutMs === undefined ? {} : { timeoutMs }),
          ...signalOf(signal),
        });
      },
      (error) => failureOfBottle(error, this.slug),
    );
  }

  async foreground(
    argv: readonly string[],
    options: Pick<ExecOptions, 'as' | 'workdir' | 'signal'> & { readonly terminal: boolean },
  ): Promise<ForegroundCommand> {
    const { terminal } = options;
    const identity = await this.#whoAmI(options.signal);
    return {
      command: this.#engine.command,
      args: [
        'exec',
        '--interactive',
        ...(terminal ? ['--tty', `--detach-keys=${detachKeys}`] : []),
        this.#name,
        inside.init,
        ...execArguments(argv, identity, { ...options, asksVariables: true }),
      ],
      env: this.#engine.env,
    };
  }

  async account(signal?: AbortSignal): Promise<Account> {
    const { user } = await this.#whoAmI(signal);
    const read = async (path: string) =>
      (await readContainerText(this.#engine, this.#name, path, signalOf(signal))) ?? '';
    const [passwd, group] = await this.#try(() =>
      Promise.all([read('/etc/passwd'), namesGroup(user) ? read('/etc/group') : '']),
    );
    const found = findAccount(user, passwd, group);
    if ('account' in found) return found.account;
    const { Config } = await this.#inspect(signal);
    throw new UserUnknown({ user, image: Config.Image, reason: found.problem });
  }

  copyIn(tar: Readable, directory: string, signal?: AbortSignal): Promise<void> {
    return this.#try(() => putFiles(this.#engine, this.#name, directory, tar, signalOf(signal)), directory);
  }

  async copyOut(path: string, signal?: AbortSignal): Promise<Streaming> {
    const transfer = await this.#try(() => getFiles(this.#engine, this.#name, path, signalOf(signal)), path);
    const done = transfer.finish().then(
      () => ({ code: 0, stdout: '', stderr: '' }),
      (error: unknown) => {
        throw failureOfBottle(error, this.slug, path);
      },
    );
    done.catch(() => undefined);
    return {
      stdout: transfer.bytes,
      done,
      [Symbol.asyncDispose]: () => transfer[Symbol.asyncDispose](),
    };
  }

  logs(options: {
    readonly follow: boolean;
    readonly tail?: number;
    readonly signal?: AbortSignal;
  }): Streaming {
    return later(
      () => Promise.resolve(readLogs(this.#engine, this.#name, options)),
      (error) => failureOfBottle(error, this.slug),
    );
  }

  lastOutput(signal?: AbortSignal): Promise<Date | undefined> {
    return this.#try(() => lastLogTime(this.#engine, this.#name, signalOf(signal)));
  }

  async status(signal?: AbortSignal): Promise<BottleStatus | undefined> {
    const found = await inspectContainer(this.#engine, this.#name, signalOf(signal));
    return found === undefined ? undefined : statusOf(found);
  }

  async diskUse(signal?: AbortSignal): Promise<number> {
    const found = await inspectContainer(this.#engine, this.#name, { size: true, ...signalOf(signal) });
    if (found === undefined) throw new BottleGone({ slug: this.slug });
    return found.SizeRw ?? 0;
  }

  stop(graceMs: number): Promise<void> {
    return this.#try(() => stopContainer(this.#engine, this.#name, graceMs));
  }

  remove(): Promise<void> {
    return this.#try(() => discardContainer(this.#engine, this.#name));
  }

  #whoAmI(signal?: AbortSignal): Promise<Identity> {
    const known =
      this.#identity ?? this.#inspect(signal).then(({ Config }) => identityOf(Config.Labels ?? {}));
    this.#identity = known;
    // What could not be asked this time may be asked again.
    known.catch(() => {
      this.#identity = undefined;
    });
    return known;
  }

  async #inspect(signal?: AbortSignal): Promise<InspectedContainer> {
    const found = await inspectContainer(this.#engine, this.#name, signalOf(signal));
    if (found === undefined) throw new BottleGone({ slug: this.slug });
    return found;
  }

  #try<T>(work: () => Promise<T>, path?: string): Promise<T> {
    return inTermsOf(this.slug, work, path);
  }
}

function statusOf({ State }: InspectedContainer): BottleStatus {
  const started = new Date(State.StartedAt);
  const startedAt = started.getTime() > 0 ? { startedAt: started.toISOString() } : {};
  if (State.Running) return { state: 'running', ...startedAt };
  if (/^(created|configured|initialized)$/.test(State.Status)) return { state: 'created' };
  return { state: 'exited', exitCode: State.ExitCode, outOfMemory: State.OOMKilled, ...startedAt };
}
