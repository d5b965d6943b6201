import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../src/process/run.ts';
import { Bench } from './harness.ts';

const bridge = 'cb-faults0';

/** A dockerd of its own, so that killing it hurts nobody else. */
class OwnEngine implements AsyncDisposable {
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

test('an engine that is killed during an export gives a clear error, and the next run is fine', async () => {
  await using bench = await Bench.open({ megabytes: 200 });
  await using engine = new OwnEngine(join(bench.folder, 'engine'));
  await engine.start();
  const env = { DOCKER_HOST: engine.host };
  const built = await run('docker', ['build', '-q', '-t', bench.image, bench.project], { env });
  assert.equal(built.code, 0, built.stderr);
  const running = bench.run(['pack', '--image', bench.image, '--feeder', 'export', '--format', 'oci'], env);
  await untilGrowing(join(bench.root, 'tmp'));
  await engine.kill();
  const { code, stderr } = await running;
  assert.ok(code === 4 || code === 3, `exit ${code}: ${stderr}`);
  assert.match(stderr, /error: /);
  assert.doesNotMatch(stderr, /a bug in claude-bottle/);
  console.log(
    `faults: engine killed during export: exit ${code}, ${stderr.split('\n').find((line) => line.startsWith('error'))}`,
  );

  await engine.start();
  const again = await bench.run(
    ['pack', '--image', bench.image, '--feeder', 'export', '--format', 'oci'],
    env,
  );
  assert.equal(again.code, 0, again.stderr);
  const containers = await run('docker', ['ps', '-aq'], { env });
  assert.equal(containers.stdout, '', 'no container is left in the engine');
});

/** Waits until bytes arrive in the scratch directory. */
async function untilGrowing(path: string): Promise<void> {
  for (let tries = 0; tries < 600; tries += 1) {
    const { stdout } = await run('du', ['-sk', path]);
    if (Number(stdout.split('\t')[0]) > 4096) return;
    await sleep(20);
  }
  throw new Error('no bytes arrived');
}
