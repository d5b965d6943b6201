import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, type RunOptions, type RunResult } from '../../src/process/run.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const dist = join(root, 'guest/dist');

/** What script/build-guest makes. */
export const built = {
  amd64: join(dist, 'bottle-init-amd64'),
  arm64: join(dist, 'bottle-init-arm64'),
  /** With a libc: for valgrind, which wants one. */
  hosted: join(dist, 'bottle-init-hosted'),
  /** With AddressSanitizer and UndefinedBehaviorSanitizer. */
  sanitized: join(dist, 'bottle-init-sanitized'),
  fuzz: join(dist, 'fuzz'),
} as const;

/** The one for this host. */
export const bottleInit = process.arch === 'arm64' ? built.arm64 : built.amd64;

/** Builds everything the tests run; at once when it is there. */
export async function build(): Promise<void> {
  const { code, stderr } = await run(join(root, 'script/build-guest'), ['--tests']);
  assert.equal(code, 0, stderr);
}

export async function docker(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return run('docker', args, { deadlineMs: 60_000, ...options });
}

/** A name for a container that no other run uses. */
export function containerName(): string {
  return `bottle-init-test-${randomBytes(4).toString('hex')}`;
}

/** `docker run` arguments of a sealed container whose first process is bottle-init. */
export function sealed(name: string, options: readonly string[], init: readonly string[]): string[] {
  return [
    'run',
    '--rm',
    '--network=none',
    `--name=${name}`,
    `--volume=${bottleInit}:/bottle-init:ro`,
    '--entrypoint=/bottle-init',
    ...options,
    'debian:bookworm-slim',
    ...init,
  ];
}

/** Runs a container to its end and removes it. */
export async function runSealed(
  init: readonly string[],
  options: readonly string[] = [],
): Promise<RunResult> {
  return docker(sealed(containerName(), options, init));
}

/** A container that idles under bottle-init until it is disposed of. */
export async function startSealed(init: readonly string[], options: readonly string[] = []) {
  const name = containerName();
  const { code, stderr } = await docker(sealed(name, ['--detach', ...options], init));
  assert.equal(code, 0, stderr);
  return {
    name,
    exec: (...args: string[]) => docker(['exec', ...args]),
    async [Symbol.asyncDispose]() {
      await docker(['rm', '--force', name]);
    },
  };
}

/** A directory of this test alone. */
export async function temporary() {
  const path = await mkdtemp(join(tmpdir(), 'bottle-init-test-'));
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}

/** Nothing that comes at all takes so long, on the busiest machine. A test that is over its own deadline would wait for ever. */
const longestMs = 120_000;

/** Waits until the condition holds. */
export async function until<Value>(
  condition: () => Promise<Value | undefined> | Value | undefined,
): Promise<Value> {
  for (const limit = Date.now() + longestMs; ;) {
    const value = await condition();
    if (value !== undefined) return value;
    if (Date.now() > limit) throw new Error(`not within ${longestMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A program of this host that runs until it is disposed of, with everything it said so far. */
export class Running implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly ended: Promise<number>;
  output = '';

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    }
    this.ended = once(this.child, 'close').then(([code]) => (code as number | null) ?? -1);
  }

  /** Waits until it said this; fails when it ends before. */
  async says(text: string): Promise<void> {
    const gone = this.ended.then((code) => assert.fail(`ended with ${code}: ${this.output}`));
    await Promise.race([gone, until(() => this.output.includes(text) || undefined)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGTERM');
    await this.ended;
  }
}
