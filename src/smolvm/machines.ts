import { DeadlineExceeded } from '../process/errors.ts';
import { type RunResult, run } from '../process/run.ts';
import { type Capability, requirementOf } from './capabilities.ts';
import { type MachineAction, MachineFailed, MachineNetworked, SmolvmTooOld } from './errors.ts';
import type { Smolvm } from './find.ts';
import { createArgv, execArgv, namedArgv } from './machine-argv.ts';
import type { MachineHome } from './machine-home.ts';
import { removeRemains } from './machine-remains.ts';
import { type MachineInfo, type MachineSpec, readMachine, readMachines } from './machine.ts';
import { machineCauseOf, type Pruned, quoteFailure, readPruned } from './output.ts';
import { formatVersion } from './version.ts';
import { stopMachinesBelow, stopMakersOf } from './vm-processes.ts';

/** A program for `process/run.ts` and `process/foreground.ts`. */
export interface MachineCommand {
  readonly command: string;
  readonly args: readonly string[];
  /** Laid over our own environment. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * How long each action may take, in milliseconds. Creating unpacks the artifact. Starting is given up by smolvm itself
 * after 120 s (v1.9.3), later releases wait for 600 s. Pruning waits for whatever is being created, and must not be ended
 * while it removes. The rest boots nothing and copies nothing.
 */
const deadlines: Readonly<Record<Exclude<MachineAction, 'exec'>, number>> = {
  create: 15 * 60_000,
  start: 11 * 60_000,
  stop: 60_000,
  delete: 120_000,
  ls: 60_000,
  status: 60_000,
  'data-dir': 60_000,
  prune: 60 * 60_000,
};

/** What many machines with long labels take as JSON, with room to spare. */
const listBytes = 16 * 1024 * 1024;

interface CallOptions {
  readonly name?: string;
  readonly signal?: AbortSignal | undefined;
  readonly captureBytes?: number;
}

/** The machines of one home of smolvm's. Every call fails with MachineFailed, or the reason of its signal. */
export class Machines {
  readonly #smolvm: Smolvm;
  readonly #home: MachineHome;
  readonly #deadlines: typeof deadlines;

  private constructor(smolvm: Smolvm, home: MachineHome, limits: typeof deadlines) {
    this.#smolvm = smolvm;
    this.#home = home;
    this.#deadlines = limits;
  }

  /**
   * @param smolvm found with `needs: 'bottles'` by whoever wants to make machines; an older one can still list, stop and
   * delete what is there.
   * @param options.deadlines milliseconds, for tests.
   */
  static open(
    smolvm: Smolvm,
    home: MachineHome,
    options: { readonly deadlines?: Partial<typeof deadlines> } = {},
  ): Machines {
    return new Machines(smolvm, home, { ...deadlines, ...options.deadlines });
  }

  /**
   * Makes a machine that does not run yet, and makes sure that it has no network: an artifact can ask for one, and
   * nothing takes that back (v1.9.3, src/cli/machine.rs: `manifest.network || --net`). Whatever fails, or if `signal`
   * fires, no machine of that name and those labels stays behind.
   * @throws MachineNetworked, MachinePathRefused, SmolvmTooOld
   */
  async create(spec: MachineSpec, signal?: AbortSignal): Promise<void> {
    this.#require('bottles');
    const { name, artifact } = spec;
    const args = createArgv(this.#smolvm, spec);
    try {
      await this.#do('create', args, { name, signal });
      const made = await this.status(name, signal);
      if (made === undefined) throw this.#failed('create', name, 0, 'exit status 0, but there is no machine');
      if (made.network) throw new MachineNetworked({ name, artifact });
    } catch (error) {
      if (!(error instanceof MachineFailed && error.fields.cause === 'exists')) await this.#undo(spec);
      throw error;
    }
  }

  /** Removes what a creation that failed may have left; what has the name but not our labels is somebody else's. */
  async #undo({ name, labels }: MachineSpec): Promise<void> {
    const marks = Object.entries(labels);
    try {
      const made = (await this.list()).find((machine) => machine.name === name);
      if (made === undefined) return await removeRemains(this.#home, name);
      const ours = marks.length > 0 && marks.every(([key, value]) => made.labels[key] === value);
      if (ours) await this.delete(name);
    } catch {
      // What made the creation fail is what has to be told. By its labels, what is left is found again.
    }
  }

  /** Boots it; one that runs is no error. Its command runs when this returns. */
  async start(name: string, signal?: AbortSignal): Promise<void> {
    await this.#do('start', ['machine', 'start', '--name', name], { name, signal });
  }

  /** One that does not run, or is not there, is no error. */
  async stop(name: string): Promise<void> {
    const result = await this.#run('stop', ['machine', 'stop', '--name', name], { name });
    if (result.code === 0) return;
    const state = (await this.list()).find((machine) => machine.name === name)?.state;
    if (state === 'running' || state === 'unreachable') throw this.#refused('stop', name, result);
  }

  /**
   * Ends it by whatever it takes and removes it with its disks; one that is not there is no error. When this returns it
   * is in no list any more, and its directory is gone.
   */
  async delete(name: string): Promise<void> {
    await this.#end(name);
    await removeRemains(this.#home, name);
  }

  async #end(name: string): Promise<void> {
    await stopMakersOf(name, this.#home.path);
    await this.stop(name).catch(ifFailed);
    const args = [...namedArgv(this.#smolvm, 'delete', name), '-f'];
    const first = await this.#run('delete', args, { name }).catch(ifFailed);
    if (!(await this.#isListed(name))) return;
    // Something of it does not end when asked: its process is ours to kill.
    await stopMachinesBelow(await this.dataDirectory(name));
    const second = await this.#run('delete', args, { name });
    if (await this.#isListed(name))
      throw this.#refused('delete', name, second.code === 0 ? (first ?? second) : second);
  }

  async #isListed(name: string): Promise<boolean> {
    return (await this.list()).some((machine) => machine.name === name);
  }

  /** All machines of this home, also those that are not ours. */
  async list(signal?: AbortSignal): Promise<readonly MachineInfo[]> {
    const options = { signal, captureBytes: listBytes };
    const { stdout } = await this.#do('ls', ['machine', 'ls', '--json'], options);
    const machines = readMachines(stdout);
    if (machines === undefined) throw this.#unreadable('ls', undefined, stdout);
    return machines;
  }

  /** `undefined`: there is no such machine. */
  async status(name: string, signal?: AbortSignal): Promise<MachineInfo | undefined> {
    const args = ['machine', 'status', '--name', name, '--json'];
    const result = await this.#run('status', args, { name, signal });
    if (result.code === 0) {
      const machine = readMachine(result.stdout);
      if (machine?.name !== name) throw this.#unreadable('status', name, result.stdout);
      return machine;
    }
    // The exit status is the same for one that is not there and for every other failure, and words change.
    if ((await this.list(signal)).some((machine) => machine.name === name)) {
      throw this.#refused('status', name, result);
    }
    return undefined;
  }

  /**
   * The command that runs a further program in a machine, its output as it comes, its exit status the program's.
   * Nothing is run by this.
   * @param options.stdin passes the command's standard input on to the program.
   */
  execCommand(name: string, argv: readonly string[], options: { readonly stdin: boolean }): MachineCommand {
    return { command: this.#smolvm.path, args: execArgv(name, argv, options), env: this.#home.env };
  }

  /**
   * Whether smolvm, and not the program in the machine, is what failed in an `execCommand` that ended so: both end with
   * 1, but only smolvm says `Error:` (`error:` when the machine went in the middle of it), and only when the machine does
   * not run (v1.9.3, src/cli/vm_common.rs, src/cli/machine.rs).
   * @returns the failure; `undefined` when the program ended like that by itself.
   */
  async execFailure(
    name: string,
    result: Pick<RunResult, 'code' | 'stderr'>,
    signal?: AbortSignal,
  ): Promise<MachineFailed | undefined> {
    if (result.code !== 1 || !/^error: /im.test(result.stderr)) return undefined;
    if ((await this.status(name, signal))?.state === 'running') return undefined;
    const quote = quoteFailure('', result.stderr);
    const cause = machineCauseOf(quote, 1);
    return this.#failed('exec', name, 1, quote, cause === 'unknown' ? 'not-running' : cause);
  }

  /** Where its disks and its console log are, absolute. */
  async dataDirectory(name: string): Promise<string> {
    const { stdout } = await this.#do('data-dir', namedArgv(this.#smolvm, 'data-dir', name), { name });
    const path = stdout.trim();
    if (!path.startsWith('/')) throw this.#unreadable('data-dir', name, stdout);
    return path;
  }

  /**
   * Removes what artifacts of this home were unpacked into and no machine of it uses, under smolvm's own lock: machines that
   * are being made are waited for. `signal` ends only a dry run: what is half removed when smolvm is killed counts as whole
   * for the next machine of that artifact (v1.9.3, crates/smolvm-pack/src/extract.rs `extract_sidecar_capped`).
   * @returns what smolvm tells of it; `undefined`: it is done, and told in words that we do not know.
   * @throws SmolvmTooOld
   */
  async pruneUnpacked(options: {
    readonly dryRun: boolean;
    readonly signal?: AbortSignal;
  }): Promise<Pruned | undefined> {
    this.#require('prunesUnpacked');
    const { dryRun, signal } = options;
    const args = ['pack', 'prune', '--all', ...(dryRun ? ['--dry-run'] : [])];
    const { stdout } = await this.#do('prune', args, dryRun ? { signal } : {});
    return readPruned(stdout);
  }

  #require(capability: Capability): void {
    if (this.#smolvm.can(capability)) return;
    const { path, version } = this.#smolvm;
    throw new SmolvmTooOld({ path, found: formatVersion(version), ...requirementOf(capability) });
  }

  async #do(
    action: keyof typeof deadlines,
    args: readonly string[],
    options: CallOptions,
  ): Promise<RunResult> {
    const result = await this.#run(action, args, options);
    if (result.code !== 0) throw this.#refused(action, options.name, result);
    return result;
  }

  async #run(
    action: keyof typeof deadlines,
    args: readonly string[],
    options: CallOptions,
  ): Promise<RunResult> {
    const { name, signal, captureBytes } = options;
    try {
      return await run(this.#smolvm.path, args, {
        env: this.#home.env,
        // smolvm looks for files of its own in the working directory (src/cli/pack.rs).
        cwd: '/',
        deadlineMs: this.#deadlines[action],
        ...(signal === undefined ? {} : { signal }),
        ...(captureBytes === undefined ? {} : { captureBytes }),
      });
    } catch (error) {
      if (!(error instanceof DeadlineExceeded)) throw error;
      const said = `no end within ${error.fields.deadlineMs / 1000} s`;
      throw this.#failed(action, name, 137, said, 'timeout');
    }
  }

  #refused(
    action: MachineAction,
    name: string | undefined,
    { code, stdout, stderr }: RunResult,
  ): MachineFailed {
    const quote = quoteFailure(stdout, stderr);
    return this.#failed(action, name, code, quote === '' ? `exit status ${code}, and not a word` : quote);
  }

  #unreadable(action: MachineAction, name: string | undefined, stdout: string): MachineFailed {
    return this.#failed(
      action,
      name,
      0,
      `an answer that cannot be read: ${JSON.stringify(stdout.slice(0, 300))}`,
    );
  }

  #failed(
    action: MachineAction,
    name: string | undefined,
    code: number,
    quote: string,
    cause = machineCauseOf(quote, code),
  ): MachineFailed {
    const version = formatVersion(this.#smolvm.version);
    return new MachineFailed({
      action,
      ...(name === undefined ? {} : { name }),
      version,
      code,
      cause,
      quote,
    });
  }
}

function ifFailed(error: unknown): undefined {
  if (!(error instanceof MachineFailed)) throw error;
  return undefined;
}
