import type { Readable } from 'node:stream';
import { CommandMissing } from '../process/errors.ts';
import { run, stream } from '../process/run.ts';
import { GitFailed, GitMissing } from './errors.ts';
import { printable } from './printable.ts';

/** Which repository git works on. Nothing is ever discovered: what is not named here is not looked for. */
export interface GitPlace {
  readonly gitDir: string;
  /** Without it, no command may look at files. */
  readonly workTree?: string;
  readonly index?: string;
}

export interface GitOptions {
  readonly signal?: AbortSignal | undefined;
  /** Standard input; a string's characters are bytes (latin1), as `bytes` gives them. */
  readonly input?: string;
  /** Milliseconds; ten minutes by default, for histories of any size. */
  readonly deadlineMs?: number;
  /** More of standard output than this many bytes is a failure. */
  readonly limitBytes?: number;
  /** `-c` settings beyond the fixed ones. */
  readonly config?: readonly string[];
  /** Variables beyond the fixed ones; for identities and dates. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whether local paths and bundles may be fetched from. Nothing else ever may. */
  readonly fetches?: boolean;
}

export interface GitResult {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

const defaultDeadlineMs = 600_000;
const defaultLimitBytes = 256 * 1024 * 1024;

/**
 * Said on every command line, where it beats what a repository's own configuration says. The sources are git's
 * Documentation/config/*.txt.
 */
const fixedConfig: readonly string[] = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.untrackedCache=false',
  'core.splitIndex=false',
  'core.pager=cat',
  'core.editor=false',
  'core.askPass=false',
  'core.sshCommand=false',
  'core.gitProxy=false',
  // Run by a shell where a repository borrows objects: a command that says nothing.
  'core.alternateRefsCommand=true',
  'core.attributesFile=/dev/null',
  'core.quotePath=false',
  'core.protectHFS=true',
  'core.protectNTFS=true',
  'core.logAllRefUpdates=false',
  'core.filesRefLockTimeout=5000',
  'core.packedRefsTimeout=5000',
  'core.bigFileThreshold=32m',
  'credential.helper=',
  'protocol.allow=never',
  'gc.auto=0',
  'maintenance.auto=false',
  'commit.gpgSign=false',
  'tag.gpgSign=false',
  'gpg.program=false',
  'log.showSignature=false',
  'submodule.recurse=false',
  'fetch.recurseSubmodules=false',
  'fetch.writeCommitGraph=false',
  'pack.writeReverseIndex=false',
];

/**
 * Runs git on one repository such that nothing but git itself runs. Neither the user's nor the system's configuration
 * is read; hooks, monitors, editors, pagers, askers, signers and transports are switched off. A repository's own
 * configuration can still define filters and text converters, which run only where files are looked at: so whoever
 * passes a `workTree` passes a `gitDir` that we made ourselves.
 */
export class Git {
  readonly #place: GitPlace | undefined;
  readonly #signal: AbortSignal | undefined;

  /** @param place without it, only commands that need no repository. */
  constructor(place: GitPlace | undefined, signal?: AbortSignal) {
    this.#place = place;
    this.#signal = signal;
  }

  /**
   * @returns also for an exit status that is not zero.
   * @throws GitMissing, GitFailed when the output is over its limit, DeadlineExceeded, or the reason of the signal.
   */
  async try(args: readonly string[], options: GitOptions = {}): Promise<GitResult> {
    await using child = this.open(args, options);
    const limit = options.limitBytes ?? defaultLimitBytes;
    const parts: Buffer[] = [];
    let size = 0;
    try {
      for await (const part of child.stdout as AsyncIterable<Buffer>) {
        size += part.length;
        if (size > limit) {
          throw new GitFailed({ doing: nameOf(args), code: 0, words: `more than ${limit} bytes of output` });
        }
        parts.push(part);
      }
    } catch (error) {
      if (error instanceof GitFailed) throw error;
      // What destroyed the stream is told by how the child ended.
      await child.done;
      throw error;
    }
    const { code, stderr } = await child.done;
    return { code, stdout: Buffer.concat(parts), stderr };
  }

  /**
   * The output of a command that should succeed, one character a byte.
   * @throws GitFailed, and as `try`.
   */
  async bytes(args: readonly string[], options: GitOptions = {}): Promise<string> {
    const result = await this.try(args, options);
    if (result.code !== 0) throw failed(args, result);
    return result.stdout.toString('latin1');
  }

  /** As `bytes`, as text without the final line feed. */
  async text(args: readonly string[], options: GitOptions = {}): Promise<string> {
    const text = Buffer.from(await this.bytes(args, options), 'latin1').toString('utf8');
    return text.endsWith('\n') ? text.slice(0, -1) : text;
  }

  /** Starts a command whose output is read as it comes. Disposing ends it. */
  open(args: readonly string[], options: GitOptions = {}): GitChild {
    const config = [...fixedConfig, ...(options.config ?? [])].flatMap((setting) => ['-c', setting]);
    const signal = options.signal ?? this.#signal;
    const child = stream('git', [...config, '--no-pager', ...args], {
      env: { ...this.#environment(options.fetches === true), ...options.env },
      // Not the user's directory: a relative path of anything must not lead into a tree that is looked at.
      cwd: this.#place?.workTree ?? '/',
      deadlineMs: options.deadlineMs ?? defaultDeadlineMs,
      ...(options.input === undefined ? {} : { input: Buffer.from(options.input, 'latin1') }),
      ...(signal === undefined ? {} : { signal }),
    });
    return {
      stdout: child.stdout,
      done: named(child.done),
      [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
    };
  }

  #environment(fetches: boolean): Record<string, string | undefined> {
    const inherited = Object.keys(process.env).filter((name) => name.startsWith('GIT_'));
    const place = this.#place;
    return {
      ...Object.fromEntries(inherited.map((name) => [name, undefined])),
      HOME: '/dev/null',
      XDG_CONFIG_HOME: '/dev/null',
      LC_ALL: 'C',
      LANGUAGE: undefined,
      SSH_ASKPASS: undefined,
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_SYSTEM: '/dev/null',
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_ATTR_NOSYSTEM: '1',
      GIT_TERMINAL_PROMPT: '0',
      GIT_ASKPASS: 'false',
      GIT_OPTIONAL_LOCKS: '0',
      GIT_NO_REPLACE_OBJECTS: '1',
      GIT_NO_LAZY_FETCH: '1',
      // When it is set, what a configuration says about single protocols does not count (git's transport.c).
      GIT_ALLOW_PROTOCOL: fetches ? 'file' : '',
      GIT_EDITOR: 'false',
      GIT_PAGER: 'cat',
      ...(place === undefined
        ? { GIT_DIR: '/dev/null' }
        : {
            GIT_DIR: place.gitDir,
            ...(place.workTree === undefined ? {} : { GIT_WORK_TREE: place.workTree }),
            ...(place.index === undefined ? {} : { GIT_INDEX_FILE: place.index }),
          }),
    };
  }
}

export interface GitChild extends AsyncDisposable {
  readonly stdout: Readable;
  readonly done: Promise<{ readonly code: number; readonly stderr: string }>;
}

/** @throws GitFailed */
export function failed(
  args: readonly string[],
  result: { readonly code: number; readonly stderr: string },
): GitFailed {
  return new GitFailed({ doing: nameOf(args), code: result.code, words: wordsOf(result.stderr) });
}

/** The end of what git said, each line safe to print. */
export function wordsOf(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  return lines
    .slice(-5)
    .map((line) => printable(line))
    .join('\n');
}

function nameOf(args: readonly string[]): string {
  return args.find((one) => !one.startsWith('-')) ?? 'git';
}

function named<Result>(done: Promise<Result>): Promise<Result> {
  const told = done.catch((error: unknown) => {
    throw error instanceof CommandMissing ? new GitMissing({ command: 'git' }) : error;
  });
  told.catch(() => undefined);
  return told;
}

/**
 * A setting of the user's or the system's configuration, which no repository can write; all values of it, in order.
 * Reading a configuration runs nothing.
 */
export async function userSettings(
  key: string,
  type: 'path' | undefined,
  signal?: AbortSignal,
): Promise<string[]> {
  const args = ['config', '--null', ...(type === undefined ? [] : [`--type=${type}`]), '--get-all', key];
  const asked = await named(
    run('git', args, {
      cwd: '/',
      env: { GIT_DIR: '/dev/null', GIT_CONFIG_COUNT: undefined, GIT_CONFIG_PARAMETERS: undefined },
      ...(signal === undefined ? {} : { signal }),
    }),
  );
  return asked.code === 0 ? asked.stdout.split('\0').slice(0, -1) : [];
}
