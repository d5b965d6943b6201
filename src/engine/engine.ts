import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { CommandMissing, DeadlineExceeded } from '../process/errors.ts';
import { type RunOptions, type RunResult, run, type StreamedChild, stream } from '../process/run.ts';
import type { EngineAddress } from '../process/scratch.ts';
import { apiJson } from './api.ts';
import { EngineAnswerUnknown, EngineDenied, EngineMissing, EngineUnreachable } from './errors.ts';
import {
  type EngineInfo,
  isPodmanService,
  type ParsedInfo,
  parseEndpoint,
  parseInfo,
  understood,
} from './info.ts';
import { failureOf, wordsOf } from './words.ts';

export interface ConnectOptions {
  /** `docker`, `podman`, or the path of either. */
  readonly command: string;
  /** Laid over our own environment for every call; `undefined` removes a variable. */
  readonly env?: RunOptions['env'];
  /** False keeps everything on the CLI, also where the socket would save a copy. True by default. */
  readonly direct?: boolean;
  readonly signal?: AbortSignal;
}

/** An engine far away may take its time, but one that hangs must not hang us. */
const answerMs = 30_000;
const pingMs = 2_000;

/** What of the environment decides which engine, and which storage, a command talks to. None of it is secret. */
const addressVariables = [
  'DOCKER_HOST',
  'DOCKER_CONTEXT',
  'DOCKER_CONFIG',
  'DOCKER_TLS_VERIFY',
  'DOCKER_CERT_PATH',
  'CONTAINER_HOST',
  'CONTAINER_CONNECTION',
  'CONTAINER_SSHKEY',
  'CONTAINERS_CONF',
  'CONTAINERS_STORAGE_CONF',
  'STORAGE_DRIVER',
  'XDG_RUNTIME_DIR',
  'XDG_DATA_HOME',
  'XDG_CONFIG_HOME',
  'HOME',
];

/** The environment that makes a command reach the engine at `address`, whatever our own environment says. */
export function environmentOf(address: EngineAddress): Record<string, string | undefined> {
  return Object.fromEntries(addressVariables.map((name) => [name, address.env[name]]));
}

/** What connecting finds out. None of it is secret. */
export interface EngineFacts {
  readonly dialect: 'docker' | 'podman';
  /** Both are absent, not null, after a way through JSON. */
  readonly endpoint?: string | undefined;
  readonly socket?: string | undefined;
  readonly info: EngineInfo;
}

/** A container engine that answered, behind its CLI. */
export class Engine {
  readonly command: string;
  /** Enough for a later process to undo what this one left in the engine. */
  readonly address: EngineAddress;
  /** Which CLI's flags the command takes; the engine behind a docker CLI may still be podman. */
  readonly dialect: 'docker' | 'podman';
  /** The endpoint as the engine's own tools write it; undefined where it is none, as with podman's local storage. */
  readonly endpoint: string | undefined;
  /** A local Unix socket with Docker's API that this user can open. */
  readonly socket: string | undefined;
  readonly #info: EngineInfo;
  readonly #env: NonNullable<RunOptions['env']>;

  private constructor(options: ConnectOptions, facts: EngineFacts) {
    this.command = options.command;
    this.dialect = facts.dialect;
    this.endpoint = facts.endpoint;
    this.socket = facts.socket;
    this.#info = facts.info;
    this.#env = options.env ?? {};
    this.address = { command: options.command, env: addressOf(options.env ?? {}) };
  }

  /**
   * Finds the engine and asks it what it is: over its socket where that answers, which saves a start of its CLI.
   * @throws EngineMissing, EngineUnreachable or EngineDenied.
   */
  static async connect(options: ConnectOptions): Promise<Engine> {
    const { command } = options;
    const call = { env: options.env ?? {}, deadlineMs: answerMs, ...signalOf(options.signal) };
    // Podman has no contexts. Its `docker` has none either, so an endpoint also means that the CLI is Docker's.
    const context = /(^|\/)podman[^/]*$/.test(command)
      ? undefined
      : await ask(command, ['context', 'inspect', '--format', '{{json .}}'], call).catch(() => undefined);
    options.signal?.throwIfAborted();
    const endpoint = context?.code === 0 ? parseEndpoint(context.stdout) : undefined;
    const local = endpoint?.match(/^unix:\/\/(\/.*)$/)?.[1];
    const direct =
      local === undefined || options.direct === false ? undefined : await askDirectly(local, options.signal);
    if (direct !== undefined) {
      const info = { ...direct.info, ...productOf(direct.version), remote: false };
      return new Engine(options, { dialect: 'docker', endpoint, socket: local, info });
    }
    const parsed = understand(
      await ask(command, ['info', '--format', '{{json .}}'], call),
      command,
      endpoint,
    );
    const candidate = parsed.dialect === 'podman' ? podmanSocket(parsed.socket, options.env) : local;
    const version = candidate === undefined ? undefined : await answersOn(candidate, options.signal);
    const socket = version === undefined || options.direct === false ? undefined : candidate;
    if (parsed.dialect === 'podman') {
      return new Engine(options, { dialect: 'podman', endpoint: undefined, socket, info: parsed.info });
    }
    const remote = endpoint !== undefined && !/^(unix|npipe):/.test(endpoint);
    const info = { ...parsed.info, ...productOf(version), remote };
    return new Engine(options, { dialect: 'docker', endpoint, socket, info });
  }

  /** The engine that another process of ours has just connected to. Asks nothing. */
  static resume(options: ConnectOptions, facts: EngineFacts): Engine {
    return new Engine(options, facts);
  }

  /** For `resume` in another process. */
  get facts(): EngineFacts {
    const { dialect, endpoint, socket } = this;
    return { dialect, endpoint, socket, info: this.#info };
  }

  /** Laid over our own environment for every call of the command. */
  get env(): NonNullable<RunOptions['env']> {
    return this.#env;
  }

  /** What the engine said of itself when we connected. */
  info(): Promise<EngineInfo> {
    return Promise.resolve(this.#info);
  }

  /**
   * Runs one command of the engine's CLI to its end. A non-zero exit is a result, not an error.
   * @throws EngineUnreachable after `deadlineMs` too: an engine that does not answer is as good as none.
   */
  async run(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return ask(this.command, args, { ...options, env: { ...this.#env, ...options.env } });
  }

  /**
   * As `run`, for commands that must succeed.
   * @param request how the command is called in a failure: `image inspect`.
   * @throws EngineCommandFailed, ImageMissing, EngineUnreachable or EngineDenied, with the engine's own words.
   */
  async succeed(
    request: string,
    args: readonly string[],
    options: RunOptions & { readonly subject?: string } = {},
  ): Promise<RunResult> {
    const result = await this.run(args, options);
    if (result.code !== 0) throw this.failure(request, result, options.subject);
    return result;
  }

  /** Starts a command whose standard output is read as it comes. */
  stream(args: readonly string[], options: RunOptions = {}): StreamedChild {
    return stream(this.command, args, { ...options, env: { ...this.#env, ...options.env } });
  }

  /** What the end of a command means. */
  failure(request: string, result: Pick<RunResult, 'code' | 'stderr'>, subject?: string): Error {
    return failureOf({ command: this.command, endpoint: this.endpoint, request, subject }, result);
  }
}

/** `{ signal }`, or nothing: exact optional properties do not take an undefined one. */
export function signalOf(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

function addressOf(env: NonNullable<RunOptions['env']>): Record<string, string> {
  const merged: Record<string, string | undefined> = { ...process.env, ...env };
  return Object.fromEntries(
    addressVariables.flatMap((name) => {
      const value = merged[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

async function ask(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  try {
    return await inOurWords(command, () => run(command, args, options));
  } catch (error) {
    if (!(error instanceof DeadlineExceeded)) throw error;
    throw new EngineUnreachable({ command, words: `no answer in ${error.fields.deadlineMs / 1000} s` });
  }
}

async function inOurWords<T>(command: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof CommandMissing) throw new EngineMissing({ command });
    throw error;
  }
}

function understand(answer: RunResult, command: string, endpoint: string | undefined): ParsedInfo {
  const about = { command, endpoint, request: 'info' };
  if (answer.code !== 0) {
    const failed = failureOf(about, answer);
    if (failed instanceof EngineDenied) throw failed;
    throw new EngineUnreachable({ command, ...placeOf(endpoint), ...wordsOf(answer.stderr) });
  }
  const parsed = parseInfo(answer.stdout);
  if (parsed === undefined) {
    throw new EngineAnswerUnknown({
      command,
      request: 'info',
      reason: 'neither docker nor podman answers so',
    });
  }
  if (parsed.dialect === 'docker' && parsed.errors.length > 0) {
    const words = parsed.errors.join('\n');
    const failed = failureOf(about, { code: 1, stderr: words });
    throw failed instanceof EngineDenied
      ? failed
      : new EngineUnreachable({ command, ...placeOf(endpoint), ...wordsOf(words) });
  }
  return parsed;
}

/** Podman's service has the default storage: it is no way to one that the environment chooses. */
function podmanSocket(socket: string | undefined, env: RunOptions['env']): string | undefined {
  const merged = { ...process.env, ...env };
  const chosen = ['CONTAINERS_STORAGE_CONF', 'STORAGE_DRIVER', 'STORAGE_OPTS'].some((name) => merged[name]);
  return chosen ? undefined : socket;
}

function placeOf(endpoint: string | undefined): { endpoint?: string } {
  return endpoint === undefined ? {} : { endpoint };
}

/** What Docker says of itself over a socket; `undefined` when its CLI has to be asked, be it only for its words. */
async function askDirectly(path: string, signal: AbortSignal | undefined) {
  const ask = (what: string) => apiJson(path, what, { timeoutMs: answerMs, ...signalOf(signal) });
  try {
    await access(path, constants.R_OK | constants.W_OK);
    const [answer, version] = await Promise.all([ask('/info'), ask('/version')]);
    const parsed = understood(answer);
    return parsed?.dialect === 'docker' && parsed.errors.length === 0
      ? { info: parsed.info, version }
      : undefined;
  } catch {
    signal?.throwIfAborted();
    return undefined;
  }
}

function productOf(version: unknown): { product?: 'podman'; store?: 'podman' } {
  return isPodmanService(version) ? { product: 'podman', store: 'podman' } : {};
}

/** The answer of `GET /version` on a socket; undefined when this user cannot talk to it. */
async function answersOn(path: string, signal: AbortSignal | undefined): Promise<unknown> {
  try {
    await access(path, constants.R_OK | constants.W_OK);
    return await apiJson(path, '/version', { timeoutMs: pingMs, ...signalOf(signal) });
  } catch {
    signal?.throwIfAborted();
    return undefined;
  }
}
