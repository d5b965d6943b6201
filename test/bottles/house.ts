import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { quoted } from '../process/tmux.ts';
import { run, type RunOptions, type RunResult } from '../../src/process/run.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
export const program = join(root, 'bin/claude-bottle');
/** Debian with git and a user called agent, as examples/shell makes it. */
export const image = 'claude-bottle-test:shell';

/** Builds the image of the tests; at once when the engine has its layers. */
export async function buildImage(): Promise<void> {
  const { code, stderr } = await run(
    'docker',
    ['build', '--quiet', `--tag=${image}`, join(root, 'examples/shell')],
    {
      env: { DOCKER_BUILDKIT: '0' },
    },
  );
  assert.equal(code, 0, stderr);
}

/**
 * A user's machine of this test alone: a home, places for state, cache and sockets, and a repository with one commit. It
 * shares the engine with everybody else.
 */
export class House implements AsyncDisposable {
  readonly path: string;
  readonly home: string;
  readonly repository: string;
  readonly env: Record<string, string>;
  readonly #children = new Set<ChildProcess>();

  private constructor(path: string) {
    this.path = path;
    this.home = join(path, 'home');
    this.repository = join(path, 'repo');
    this.env = {
      HOME: this.home,
      XDG_STATE_HOME: join(path, 'state'),
      XDG_RUNTIME_DIR: join(path, 'run'),
      XDG_CACHE_HOME: join(path, 'cache'),
      GIT_CONFIG_GLOBAL: join(path, 'gitconfig'),
      // Also where a machine could be had: tests of machines say so.
      CLAUDE_BOTTLE_BACKEND: 'docker',
    };
  }

  static async build(): Promise<House> {
    const house = new House(await mkdtemp(join(tmpdir(), 'cb-')));
    for (const path of [house.home, house.repository, join(house.path, 'run')]) {
      await mkdir(path, { recursive: true, mode: 0o700 });
    }
    await writeFile(join(house.path, 'gitconfig'), '[user]\n\tname = Test\n\temail = test@localhost\n');
    await house.git('init', '--quiet', '--initial-branch=main');
    await house.write('README.md', 'A repository.\n');
    await house.git('add', '.');
    await house.git('commit', '--quiet', '--message=First');
    return house;
  }

  async write(path: string, text: string): Promise<void> {
    const whole = join(this.repository, path);
    await mkdir(dirname(whole), { recursive: true });
    await writeFile(whole, text);
  }

  async define(kind: 'agents' | 'bottles', name: string, text: string): Promise<void> {
    const whole = join(this.home, '.claude-bottle', kind, `${name}.md`);
    await mkdir(dirname(whole), { recursive: true, mode: 0o700 });
    await writeFile(whole, text, { mode: 0o600 });
  }

  /** @returns what git printed. */
  async git(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await run('git', args, { cwd: this.repository, env: this.env });
    assert.equal(code, 0, `git ${args.join(' ')}: ${stderr}`);
    return stdout.trim();
  }

  /** Runs claude-bottle in the repository to its end. */
  async bottle(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return run(program, args, {
      cwd: this.repository,
      deadlineMs: 120_000,
      ...options,
      env: { ...this.env, ...options.env },
    });
  }

  /** `start --yes` on the tests' image. */
  async start(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.bottle(['start', '--yes', `--image=${image}`, ...args], options);
  }

  /** The line for a shell that runs claude-bottle as `bottle` does. */
  line(args: readonly string[]): string {
    const set = Object.entries(this.env).map(([name, value]) => quoted(`${name}=${value}`));
    return `cd ${quoted(this.repository)}; env ${set.join(' ')} ${[program, ...args].map(quoted).join(' ')}`;
  }

  /** Starts claude-bottle in a process group of its own, and goes on. */
  spawn(args: readonly string[]): ChildProcess {
    const child = spawn(program, args, {
      cwd: this.repository,
      env: { ...process.env, ...this.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  /** Every bottle that `list` knows. */
  async list(...flags: string[]): Promise<readonly Record<string, unknown>[]> {
    const { code, stdout, stderr } = await this.bottle(['list', '--json', ...flags]);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Record<string, unknown>[];
  }

  /** Names of containers of bottles that were made from here and are still there. */
  async containers(): Promise<string[]> {
    const all = await run('docker', [
      'ps',
      '--all',
      '--no-trunc',
      '--filter=name=claude-bottle-',
      '--format={{.Names}} {{.Mounts}}',
    ]);
    assert.equal(all.code, 0, all.stderr);
    // The engine's own filter by volume takes whole paths only, and each bottle has its own below ours.
    return all.stdout.split('\n').filter((line) => line.includes(`${join(this.path, 'run')}/`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await this.bottle(['stop', '--all', '--discard', '--yes', '--grace=1s']);
    await rm(this.path, { recursive: true, force: true, maxRetries: 3 });
  }
}
