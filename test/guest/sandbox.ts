import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run, type RunResult } from '../../src/process/run.ts';
import { containerName, Running, temporary } from './guest.ts';

export interface SandboxOptions {
  /** What `unpackDebian` made. Sandboxes share it: what one writes stays in its memory. */
  readonly root: string;
  readonly args: readonly string[];
  /** From and to, read-only. */
  readonly mounts: readonly (readonly [string, string])[];
  /** Whether Unix sockets of the host may be connected to. */
  readonly hostSockets: boolean;
}

/** The root directory of Debian's base system. */
export async function unpackDebian() {
  const directory = await temporary();
  const unpack =
    'c=$(docker create debian:bookworm-slim true) && docker export "$c" | tar -x -C "$0"; docker rm "$c"';
  const { code, stderr } = await run('sh', ['-c', unpack, directory.path], { deadlineMs: 60_000 });
  assert.equal(code, 0, stderr);
  // A root directory is everybody's.
  await chmod(directory.path, 0o755);
  return directory;
}

/** Debian in gVisor, driven by its own command, so that no engine has to be told of it. No network. */
export class Sandbox implements AsyncDisposable {
  readonly #directory: Awaited<ReturnType<typeof temporary>>;
  readonly #name = containerName();
  readonly #running: Running;

  private constructor(directory: Awaited<ReturnType<typeof temporary>>, hostSockets: boolean) {
    this.#directory = directory;
    const flags = hostSockets ? ['--host-uds=open'] : [];
    this.#running = new Running('runsc', [
      ...[...this.#root, '--network=none', '--overlay2=root:memory', ...flags],
      ...['run', `--bundle=${directory.path}`, this.#name],
    ]);
  }

  get #root(): string[] {
    return [`--root=${join(this.#directory.path, 'state')}`];
  }

  static async start({ root, args, mounts, hostSockets }: SandboxOptions): Promise<Sandbox> {
    const directory = await temporary();
    const capabilities = ['CAP_SETUID', 'CAP_SETGID', 'CAP_CHOWN', 'CAP_SETPCAP', 'CAP_KILL'];
    const config = {
      ociVersion: '1.0.2',
      process: {
        user: { uid: 0, gid: 0 },
        args,
        env: ['PATH=/usr/bin:/bin'],
        cwd: '/',
        capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      },
      root: { path: root },
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc' },
        ...mounts.map(([source, destination]) => ({
          destination,
          type: 'bind',
          source,
          options: ['bind', 'ro'],
        })),
      ],
      linux: { namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })) },
    };
    await writeFile(join(directory.path, 'config.json'), JSON.stringify(config));
    return new Sandbox(directory, hostSockets);
  }

  #call(...args: string[]): Promise<RunResult> {
    return run('runsc', [...this.#root, ...args], { deadlineMs: 60_000 });
  }

  exec(...argv: string[]): Promise<RunResult> {
    return this.#call('exec', this.#name, ...argv);
  }

  async signal(name: string): Promise<void> {
    const { code, stderr } = await this.#call('kill', this.#name, name);
    assert.equal(code, 0, stderr);
  }

  ended(): Promise<number> {
    return this.#running.ended;
  }

  logs(): Promise<string> {
    return Promise.resolve(this.#running.output);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#call('kill', this.#name, 'KILL');
    await this.#running.ended;
    await this.#call('delete', '--force', this.#name);
    await this.#directory[Symbol.asyncDispose]();
  }
}
