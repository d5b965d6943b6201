import { randomBytes } from 'node:crypto';
import { ownIdentity } from './folder.ts';
import { InnerGitKilled } from './errors.ts';
import type { Place, PlaceResult, PlaceStream } from './place.ts';
import type { Identity } from './workspace.ts';

/** For what git answers from a file or two: longer only takes a repository that wants to hold us. */
const askMs = 15_000;
/** For what reads history or every file. */
const workMs = 120_000;
const sendMs = 600_000;
/** Of a list of names from inside, more bytes than this are not read. */
const listBytes = 64 * 1024 * 1024;
const oid = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
/** As many branches are named. */
const branchLimit = 50;

/**
 * The git inside a bottle, working on the copy. What runs there may be any program that calls itself git, and the
 * repository may say anything: answers are bounded and checked in form, and believed in nothing that matters. Whatever
 * asks throws InnerGitKilled when a signal ended it.
 */
export class InnerGit {
  readonly #place: Place;
  readonly #directory: string;
  readonly #signal: AbortSignal | undefined;

  constructor(place: Place, directory: string, signal?: AbortSignal) {
    this.#place = place;
    this.#directory = directory;
    this.#signal = signal;
  }

  async isThere(): Promise<boolean> {
    return (await this.#ask(['--version'])).code === 0;
  }

  /** The commit that HEAD is at; `undefined` when there is no repository, or none with a commit. */
  async head(): Promise<string | undefined> {
    return oidOf(await this.#ask(['rev-parse', '--verify', '--quiet', 'HEAD^{commit}']));
  }

  async has(commit: string): Promise<boolean> {
    return (await this.#ask(['cat-file', '-e', `${commit}^{commit}`])).code === 0;
  }

  /** How many commits HEAD has that `base` has not; `undefined` when that cannot be told. */
  async ahead(base: string): Promise<number | undefined> {
    const asked = await this.#run(['rev-list', '--count', 'HEAD', `^${base}`]);
    const count = asked.stdout.trim();
    return asked.code === 0 && /^[0-9]{1,9}$/.test(count) ? Number(count) : undefined;
  }

  /**
   * How many files differ from HEAD, untracked ones included and ignored ones not; `undefined` when that cannot be told.
   */
  async uncommitted(): Promise<number | undefined> {
    const args = [
      'status',
      '--porcelain',
      '-z',
      '--untracked-files=all',
      '--no-renames',
      '--ignore-submodules=all',
    ];
    await using status = this.#stream(args, workMs);
    let count = 0;
    let read = 0;
    for await (const part of status.stdout as AsyncIterable<Buffer>) {
      for (const byte of part) if (byte === 0) count += 1;
      read += part.length;
      if (read > listBytes) return count;
    }
    return answered('status', await status.done).code === 0 ? count : undefined;
  }

  /** Branches and stashes with commits that HEAD has not; raw text. */
  async otherBranches(): Promise<string[]> {
    const args = ['for-each-ref', `--count=${branchLimit}`, '--format=%(refname:short)', '--no-merged=HEAD'];
    const asked = await this.#run([...args, 'refs/heads', 'refs/stash']);
    return asked.code === 0 ? asked.stdout.split('\n').filter((name) => name !== '') : [];
  }

  /**
   * Makes a commit of everything that is not committed and not ignored, through an index of its own: HEAD, the index
   * and the files inside stay as they are.
   * @returns `undefined` when it could not be made.
   */
  async commitEverything(message: string, identity: Identity = ownIdentity): Promise<string | undefined> {
    const paths = await this.#ask(['rev-parse', '--git-path', 'index']);
    const index = paths.stdout.trim();
    if (paths.code !== 0 || index === '') return undefined;
    const from = index.startsWith('/') ? index : `${this.#directory}/${index}`;
    const own = `${from}-${randomBytes(4).toString('hex')}`;
    const env = {
      GIT_INDEX_FILE: own,
      GIT_AUTHOR_NAME: identity.name,
      GIT_AUTHOR_EMAIL: identity.email,
      GIT_COMMITTER_NAME: identity.name,
      GIT_COMMITTER_EMAIL: identity.email,
    };
    try {
      // What was added although it is ignored is known to the index alone.
      const copied = await this.#exec(['cp', from, own]);
      if (copied.code !== 0 && (await this.#run(['read-tree', 'HEAD'], env)).code !== 0) return undefined;
      if ((await this.#run(['add', '--all', '.'], env)).code !== 0) return undefined;
      const tree = oidOf(await this.#run(['write-tree'], env));
      if (tree === undefined) return undefined;
      return oidOf(await this.#run(['commit-tree', '-p', 'HEAD', '-m', message, tree], env));
    } finally {
      await this.#exec(['rm', '-f', own]);
    }
  }

  /** Gives a commit a name of ours, for as long as the result lives. */
  async name(commit: string): Promise<(AsyncDisposable & { readonly ref: string }) | undefined> {
    const ref = `refs/claude-bottle/${randomBytes(6).toString('hex')}`;
    if ((await this.#ask(['update-ref', ref, commit])).code !== 0) return undefined;
    return {
      ref,
      [Symbol.asyncDispose]: async () => {
        await this.#ask(['update-ref', '-d', ref]);
      },
    };
  }

  /** A bundle of what `ref` has and `base` has not. */
  bundle(ref: string, base: string): PlaceStream {
    return this.#stream(['bundle', 'create', '-q', '-', ref, `^${base}`], sendMs);
  }

  async #ask(args: readonly string[]): Promise<PlaceResult> {
    return answered(args[0], await this.#exec(this.#argv(args), {}, askMs));
  }

  async #run(args: readonly string[], env: Record<string, string> = {}): Promise<PlaceResult> {
    return answered(args[0], await this.#exec(this.#argv(args), env));
  }

  #exec(argv: readonly string[], env: Record<string, string> = {}, timeoutMs = workMs): Promise<PlaceResult> {
    return this.#place.exec(argv, { ...this.#options(timeoutMs), env: { ...quiet, ...env } });
  }

  #stream(args: readonly string[], timeoutMs: number): PlaceStream {
    return this.#place.stream(this.#argv(args), { ...this.#options(timeoutMs), env: quiet });
  }

  #argv(args: readonly string[]): string[] {
    const settings = [
      'safe.directory=*',
      'core.hooksPath=/dev/null',
      'core.fsmonitor=false',
      'core.quotePath=false',
      'commit.gpgSign=false',
      'gc.auto=0',
      'maintenance.auto=false',
    ];
    return ['git', '-C', this.#directory, ...settings.flatMap((one) => ['-c', one]), ...args];
  }

  #options(timeoutMs: number) {
    return { timeoutMs, ...(this.#signal === undefined ? {} : { signal: this.#signal }) };
  }
}

/**
 * A git that was killed, because the bottle ended under it, has not said that there is no git, repository or commit.
 * @throws InnerGitKilled
 */
function answered(doing = '', result: PlaceResult): PlaceResult {
  if (result.code > 128) throw new InnerGitKilled({ doing, signal: result.code - 128 });
  return result;
}

function oidOf({ code, stdout }: PlaceResult): string | undefined {
  const answer = stdout.trim();
  return code === 0 && oid.test(answer) ? answer : undefined;
}

const quiet = { GIT_TERMINAL_PROMPT: '0', GIT_OPTIONAL_LOCKS: '0', LC_ALL: 'C' };
