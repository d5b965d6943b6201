import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../src/process/run.ts';

const bridge = 'cb-faults0';

/** A dockerd of its own, so that killing it hurts nobody else. */
export class OwnEngine implements AsyncDisposable {
  readonly host: string;
  readonly #folder: string;
  #daemon: ChildProcess | undefined;

  constructor(folder: string) {
    this.#folder = folder;
    this.host = `unix://${folder}/docker.sock`;
  }

  async start(): Promise<void> {
    const at = (name: string) => join(this.#folder, name);
    await mkdir(this.#folder, { recursive: true });
    await run('ip', ['link', 'add', 'name', bridge, 'type', 'bridge']);
    await using log = await open(at('log'), 'a');
    this.#daemon = spawn(
      'dockerd',
      [
        `--data-root=${at('data')}`,
        `--exec-root=${at('exec')}`,
        `--pidfile=${at('pid')}`,
        `--host=${this.host}`,
        // Told to use no bridge, it would remove the machine's docker0.
        `--bridge=${bridge}`,
        '--iptables=false',
      ],
      { stdio: ['ignore', log.fd, log.fd] },
    );
    for (let tries = 0; tries < 100; tries += 1) {
      if ((await run('docker', ['version'], { env: { DOCKER_HOST: this.host } })).code === 0) return;
      await sleep(200);
    }
    throw new Error(`the test engine does not answer: ${(await readFile(at('log'), 'utf8')).slice(-2000)}`);
  }

  async kill(): Promise<void> {
    if (this.#daemon?.exitCode !== null || this.#daemon.signalCode !== null) return;
    const gone = once(this.#daemon, 'exit');
    this.#daemon.kill('SIGKILL');
    await gone;
    // Its containerd dies with it, and what both leave would make the next one wait for a process that is gone.
    await run('rm', ['-rf', ...['pid', 'docker.sock', 'exec'].map((name) => join(this.#folder, name))]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await run('sh', [
      '-c',
      'findmnt -rno TARGET | grep -F "$0" | sort -r | xargs -r umount -l',
      this.#folder,
    ]);
  }
}
