import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeadlineExceeded } from '../process/errors.ts';
import { ownerOf } from '../process/owner.ts';
import { type RunResult, run } from '../process/run.ts';
import type { Scratch } from '../process/scratch.ts';
import { largestLayer, raisedExportLimit } from './capabilities.ts';
import { type PackFailureCause, SmolvmPackFailed } from './errors.ts';
import type { Smolvm } from './find.ts';
import { machinesBelow } from './vm-processes.ts';
import { causeOf, type PackProgress, quoteFailure, readProgress } from './output.ts';
import { openWorkPlace, type WorkPlace } from './place.ts';
import { formatVersion, type Version } from './version.ts';

export interface PackOptions {
  /** Where the image is, as smolvm is to pull it: `127.0.0.1:PORT/repository:tag`. It is recorded in the artifact. */
  readonly reference: string;
  /** Path of the executable that smolvm writes beside the artifact; it is removed again. Must not end in `.smolmachine`. */
  readonly stub: string;
  /** Credential for the registry. The password is handed over in the child's environment and nowhere else. */
  readonly registry?: { readonly host: string; readonly username: string; readonly password: string };
  /** Everything that smolvm writes besides the two files goes into it, or is noted in it. */
  readonly scratch: Scratch;
  /** Bytes of the largest unpacked layer, to refuse before booting a VM what this release cannot export. */
  readonly layerBytes?: number;
  readonly onProgress?: (progress: PackProgress) => void;
  readonly signal?: AbortSignal;
  /** Milliseconds. One hour by default: smolvm itself gives up on anything that stalls, except on a merge. */
  readonly deadlineMs?: number;
  /** The environment that `CLAUDE_BOTTLE_…` and smolvm's own variables are read from; our own by default. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

const defaultDeadlineMs = 60 * 60 * 1000;
/** How often a machine that is about to appear is looked for. */
const lookoutMs = 50;
const passwordVariable = 'CLAUDE_BOTTLE_REGISTRY_PASSWORD';

/**
 * Runs `smolvm pack create --image REFERENCE -o STUB` and returns the artifact, `STUB.smolmachine`. smolvm writes it in
 * place and not atomically, so `stub` belongs into a temporary directory, and the artifact still has to be verified.
 * On every failure both files, the VM and the directories are gone; `packLeftovers` names what that cannot hold for.
 * @throws SmolvmPackFailed, CommandMissing, or the reason of `signal`.
 */
export async function packCreate(smolvm: Smolvm, options: PackOptions): Promise<{ artifact: string }> {
  const failed = (cause: PackFailureCause, quote: string) =>
    new SmolvmPackFailed({
      version: formatVersion(smolvm.version),
      reference: options.reference,
      cause,
      quote,
    });
  // Refused since v1.7.0; before, the artifact silently got the suffix twice (src/cli/pack.rs, packer.rs).
  if (/\.smolmachine$/i.test(options.stub)) throw failed('output-name', options.stub);
  const limit = largestLayer(smolvm.version);
  if ((options.layerBytes ?? 0) > limit) {
    throw failed('too-large', `a layer of ${options.layerBytes} bytes, exceeding the ${limit} byte cap`);
  }

  const artifact = `${options.stub}.smolmachine`;
  try {
    const result = await create(smolvm, options);
    if (result.code !== 0) {
      const quote = quoteFailure(result.stdout, result.stderr);
      throw failed(causeOf(quote), quote === '' ? `exit status ${result.code}, and not a word` : quote);
    }
    if (!(await stat(artifact).catch(() => undefined))?.isFile()) {
      throw failed('unknown', 'exit status 0, but no artifact was written');
    }
  } catch (error) {
    await rm(artifact, { force: true });
    if (error instanceof DeadlineExceeded) {
      throw failed('timeout', `no end within ${error.fields.deadlineMs / 1000} s`);
    }
    throw error;
  } finally {
    await rm(options.stub, { force: true });
  }
  return { artifact };
}

async function create(smolvm: Smolvm, options: PackOptions): Promise<RunResult> {
  const { scratch } = options;
  const dropsPrivileges =
    process.platform === 'linux' && process.geteuid?.() === 0 && smolvm.can('dropsPrivileges');
  await using directories = await makeDirectories(scratch);
  await using place = await openWorkPlace(scratch, dropsPrivileges);
  const env = {
    ...childEnvironment(smolvm, options.env ?? process.env, place.path, directories),
    ...(await registryAccess(scratch, options.registry)),
  };

  const journal = new Journal(scratch, place);
  try {
    // Without processors and memory of its own: a machine that asks for 4 and 8192 MiB, smolvm's defaults, is given what
    // its artifact says (v1.9.3, src/cli/machine.rs `run_from_smolmachine`), which are the same.
    return await run(smolvm.path, ['pack', 'create', '--image', options.reference, '-o', options.stub], {
      env,
      // smolvm would take `target/release/smolvm` or `lib/` of the working directory for its own (src/cli/pack.rs).
      cwd: directories.neutral,
      deadlineMs: options.deadlineMs ?? defaultDeadlineMs,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      onStart: (pid) => journal.started(pid),
      onLine: (line) => {
        const progress = readProgress(line);
        if (progress === undefined) return;
        if (progress.phase === 'starting') journal.machineStarts();
        options.onProgress?.(progress);
      },
    });
  } finally {
    await journal.settled();
  }
}

/** Writes down, as they appear, the processes that outlive us if we are killed. */
class Journal {
  readonly #scratch: Scratch;
  readonly #place: WorkPlace;
  #machines: Promise<void> | undefined;
  readonly #ended = new AbortController();
  #error: unknown;

  constructor(scratch: Scratch, place: WorkPlace) {
    this.#scratch = scratch;
    this.#place = place;
  }

  async started(pid: number): Promise<void> {
    try {
      const owner = await ownerOf(pid);
      if (owner !== undefined) await this.#scratch.expect({ kind: 'process-group', owner });
    } catch (error) {
      // A process that nobody could clean up after must not go on.
      this.#error = error;
      try {
        process.kill(-pid, 'SIGKILL');
      } catch {
        // Gone already.
      }
    }
  }

  /** Looks out for the VM from now on. Between its start and our finding it, only its directory is known. */
  machineStarts(): void {
    this.#machines ??= this.#noteMachines().catch(() => undefined);
  }

  /** Stops looking, waits for what is being written. @throws what kept the child from being journalled. */
  async settled(): Promise<void> {
    this.#ended.abort();
    await this.#machines;
    if (this.#error !== undefined) throw this.#error;
  }

  async #noteMachines(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      const machines = await machinesBelow(this.#place.path);
      for (const owner of machines) await this.#scratch.expect({ kind: 'process-group', owner });
      if (machines.length > 0) return;
      await sleep(lookoutMs, undefined, { signal: this.#ended.signal });
    }
  }
}

interface Directories extends AsyncDisposable {
  readonly neutral: string;
  readonly temporary: string;
}

async function makeDirectories(scratch: Scratch): Promise<Directories> {
  const neutral = scratch.file('cwd');
  const temporary = scratch.file('tmp');
  const remove = async () => {
    await Promise.all(
      [neutral, temporary].map((path) => rm(path, { recursive: true, force: true, maxRetries: 3 })),
    );
  };
  await Promise.all([neutral, temporary].map((path) => mkdir(path, { mode: 0o700 })));
  return { neutral, temporary, [Symbol.asyncDispose]: remove };
}

/**
 * What of the environment smolvm must see differently. TMPDIR and the staging directory hold the image two times over, so
 * they go where the scratch directory is (v1.9.3, src/cli/pack.rs `staging_root`; packer.rs). With
 * `SMOLVM_PUBLISH_ADDR` or `SMOLVM_GUEST_HOST_SERVICE` set, the VM gets a network card instead of the host's
 * sockets and cannot reach our loopback (v1.0.4, src/cli/pack.rs; v1.9.3, src/network/launch.rs).
 */
function childEnvironment(
  smolvm: Smolvm,
  outer: Readonly<Record<string, string | undefined>>,
  cache: string,
  directories: Directories,
): Record<string, string | undefined> {
  const direct = [outer.NO_PROXY, outer.no_proxy, '127.0.0.1,localhost'].filter(Boolean).join(',');
  const env: Record<string, string | undefined> = {
    ...outer,
    TMPDIR: directories.temporary,
    SMOLVM_PUBLISH_ADDR: undefined,
    SMOLVM_GUEST_HOST_SERVICE: undefined,
    NO_PROXY: direct,
    no_proxy: direct,
  };
  if (smolvm.can('stagingDirectory')) env.SMOLVM_PACK_STAGING = directories.temporary;
  if (smolvm.can('exportLimitVariable') && !smolvm.can('bigExports')) {
    env.SMOLVM_FILE_TRANSFER_MAX_BYTES = String(raisedExportLimit);
  }
  if (process.platform !== 'linux') return env;
  env.XDG_CACHE_HOME = cache;
  const root = outer.SMOLVM_DATA_DIR;
  if (root !== undefined && root !== '' && smolvm.can('dropsPrivileges')) {
    // It would take the cache back. What else it does is done here: v1.9.3, src/process.rs `apply_system_data_root`.
    env.SMOLVM_DATA_DIR = undefined;
    env.HOME = root;
    env.XDG_DATA_HOME = undefined;
    env.XDG_CONFIG_HOME = undefined;
  }
  return env;
}

/**
 * A configuration of smolvm's own for this one run. It names the variable that holds the password, so the password is
 * neither on disk nor on a command line; the user's configuration and docker's stay out of it (v0.8.0, src/registry.rs,
 * src/settings.rs `SMOLVM_CONFIG`).
 */
async function registryAccess(
  scratch: Scratch,
  registry: PackOptions['registry'],
): Promise<Record<string, string>> {
  if (registry === undefined) return {};
  const path = scratch.file('smolvm.toml');
  const lines = [
    `[images.registries.${tomlString(registry.host)}]`,
    `username = ${tomlString(registry.username)}`,
    `password_env = ${tomlString(passwordVariable)}`,
  ];
  await writeFile(path, `${lines.join('\n')}\n`, { mode: 0o600 });
  return { SMOLVM_CONFIG: path, [passwordVariable]: registry.password };
}

/** A TOML basic string: JSON's escapes are a part of TOML's (toml.io, v1.0.0, String). */
function tomlString(text: string): string {
  return JSON.stringify(text);
}

/**
 * What an interrupted `pack create` of that release may leave on this host although everything we can find was
 * removed: one sentence each, nothing where nothing remains.
 */
export function packLeftovers(version: Version, platform: NodeJS.Platform, home: string): readonly string[] {
  if (platform === 'linux') return [];
  // Elsewhere the cache directory follows HOME alone, which also tells smolvm where its own files are.
  const machines = join(home, 'Library', 'Caches', 'smolvm', 'vms');
  return [
    `smolvm ${formatVersion(version)} may still run the machine of this pack: a process "smolvm _boot-vm" with a file below ${machines}.`,
    `Its directory below ${machines} (named by 16 hexadecimal digits) can be removed once that process is gone.`,
  ];
}
