import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { CommandMissing, DeadlineExceeded } from '../process/errors.ts';
import { type RunResult, run } from '../process/run.ts';
import { type Capability, requirementOf, versionCan } from './capabilities.ts';
import { SmolvmBroken, SmolvmForeign, SmolvmMissing, SmolvmTooOld } from './errors.ts';
import { formatVersion, parseVersion, parseVersionLine, type Version } from './version.ts';

/** A smol-machines smolvm on this host. */
export interface Smolvm {
  /** Absolute. */
  readonly path: string;
  readonly version: Version;
  can(capability: Capability): boolean;
}

export interface FindOptions {
  /** What the caller is about to ask of it. `pack` by default. */
  readonly needs?: Capability;
  readonly signal?: AbortSignal;
}

/** Both probes end at once; a smolvm that does not is not going to pack anything either. */
const probeDeadlineMs = 15_000;

/**
 * Finds the smolvm that `CLAUDE_BOTTLE_SMOLVM` names (a path, or a name to look up), else the one on the PATH, and makes
 * sure that it is smol-machines': CelestoAI's SmolVM installs a command of the same name, so its version line is not
 * enough and `machine create --help` must know `--from`. Neither probe boots anything or needs KVM (v0.8.0 to v1.9.3,
 * src/main.rs).
 * @throws SmolvmMissing, SmolvmForeign, SmolvmBroken, SmolvmTooOld, or the reason of `signal`.
 */
export async function findSmolvm(
  env: Readonly<Record<string, string | undefined>>,
  options: FindOptions = {},
): Promise<Smolvm> {
  const named = env.CLAUDE_BOTTLE_SMOLVM;
  const configured = named !== undefined && named !== '';
  const looked = configured ? named : 'smolvm';
  const path = await locate(looked, env.PATH ?? '');
  if (path === undefined) throw new SmolvmMissing({ looked, configured });

  const [version, help] = await Promise.all([
    probe(path, ['--version'], env, options.signal),
    probe(path, ['machine', 'create', '--help'], env, options.signal),
  ]);
  const found = version.code === 0 ? parseVersionLine(version.stdout) : undefined;
  if (found === undefined && neverAnswered(version)) {
    throw new SmolvmBroken({ path, said: wordsOf(version) });
  }
  if (found === undefined || !knowsMachines(help)) {
    throw new SmolvmForeign({ path, said: wordsOf(found === undefined ? version : help) });
  }
  const needs = options.needs ?? 'pack';
  if (!versionCan(found, needs)) {
    throw new SmolvmTooOld({ path, found: formatVersion(found), ...requirementOf(needs) });
  }
  return { path, version: found, can: (capability) => versionCan(found, capability) };
}

/** One that was found before, by another process of ours, without asking it again. `version` is `X.Y.Z`. */
export function resumeSmolvm(path: string, version: string): Smolvm {
  const known = parseVersion(version);
  return { path, version: known, can: (capability) => versionCan(known, capability) };
}

async function locate(command: string, path: string): Promise<string | undefined> {
  if (command.includes('/')) return (await isProgram(command)) ? resolve(command) : undefined;
  for (const directory of path.split(delimiter)) {
    const candidate = resolve(join(directory, command));
    if (directory !== '' && (await isProgram(candidate))) return candidate;
  }
  return undefined;
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function probe(
  path: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal | undefined,
): Promise<RunResult> {
  try {
    return await run(path, args, {
      env,
      deadlineMs: probeDeadlineMs,
      captureBytes: 64 * 1024,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (error instanceof DeadlineExceeded) {
      return { code: 137, stdout: '', stderr: `no answer within ${probeDeadlineMs / 1000} s` };
    }
    // The file is there and executable, so it is its interpreter that is missing.
    if (error instanceof CommandMissing) return { code: 127, stdout: '', stderr: 'cannot be executed' };
    if ((error as NodeJS.ErrnoException).code === 'ENOEXEC') {
      return { code: 126, stdout: '', stderr: 'not a program for this host' };
    }
    throw error;
  }
}

/** Statuses of a shell or a loader that could not start the program, and of a death by signal. */
function neverAnswered(result: RunResult): boolean {
  return result.code >= 126;
}

/** clap prints the whole option list for `--help`; another program refuses the subcommand. */
function knowsMachines(help: RunResult): boolean {
  return help.code === 0 && /^\s*(-\w, )?--from <PATH>/m.test(help.stdout) && /\s--net\b/.test(help.stdout);
}

function wordsOf({ stdout, stderr }: RunResult): string {
  return (
    `${stderr}\n${stdout}`
      .split('\n')
      .map((line) => line.trim())
      .find((line) => line !== '') ?? ''
  ).slice(0, 300);
}
