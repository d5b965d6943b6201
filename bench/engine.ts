import * as v from 'valibot';
import { run, type RunOptions, type RunResult } from '../src/process/run.ts';
import { parentOf, serversOf, treeMs } from './processes.ts';

const Version = v.object({ Server: v.object({ Version: v.string(), ApiVersion: v.string() }) });
const Info = v.object({ Driver: v.string(), OperatingSystem: v.optional(v.string(), '') });

/** The engine that is measured, and what its processes have cost so far. */
export class BenchEngine {
  readonly env: Readonly<Record<string, string>>;
  readonly description: string;
  readonly signal: AbortSignal;
  readonly #servers: readonly number[];

  private constructor(
    env: Record<string, string>,
    description: string,
    servers: number[],
    signal: AbortSignal,
  ) {
    this.env = env;
    this.description = description;
    this.#servers = servers;
    this.signal = signal;
  }

  static async connect(host: string | undefined, signal: AbortSignal): Promise<BenchEngine> {
    // An image must not differ from run to run by an attestation of its build.
    const env = { BUILDX_NO_DEFAULT_ATTESTATIONS: '1', ...(host === undefined ? {} : { DOCKER_HOST: host }) };
    const ask = async (verb: string) => {
      const { stdout } = await succeed('docker', [verb, '--format', '{{json .}}'], { env, signal });
      return JSON.parse(stdout) as unknown;
    };
    const version = v.parse(Version, await ask('version'));
    const info = v.parse(Info, await ask('info'));
    const address = host ?? process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock';
    const servers = address.startsWith('unix://') ? serversOf(address.slice('unix://'.length)) : [];
    return new BenchEngine(env, `${version.Server.Version}, ${info.Driver}`, servers, signal);
  }

  /** Runs the engine's CLI. @throws Error with its words when it fails. */
  docker(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.tool('docker', args, options);
  }

  /** Runs any program with the engine's environment. */
  tool(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return succeed(command, args, { signal: this.signal, ...options, env: { ...this.env, ...options.env } });
  }

  /** Runs it to undo something: also after an interruption, and without caring whether there was anything. */
  async undo(args: readonly string[]): Promise<void> {
    await run('docker', args, { env: this.env });
  }

  /** ms of CPU that the engine's processes have used since they started; `undefined` where they cannot be seen. */
  cpuMs(): number | undefined {
    return this.#servers.length === 0 ? undefined : treeMs(this.#servers);
  }

  /** The same of a container's main process and its shim, which are not below the engine's. */
  async containerCpuMs(name: string): Promise<number> {
    const { stdout } = await this.docker(['inspect', '--format', '{{.State.Pid}}', name]);
    const shim = parentOf(Number(stdout));
    return shim > 1 ? treeMs([shim]) : 0;
  }
}

/** Runs a program that must end well. @throws Error that quotes it. */
export async function succeed(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const result = await run(command, args, options);
  if (result.code === 0) return result;
  const words = (result.stderr.trim() || result.stdout.trim()).slice(-2_000);
  throw new Error(`${[command, ...args].join(' ')} ended with ${result.code}: ${words}`);
}
