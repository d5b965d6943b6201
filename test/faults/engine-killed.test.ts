import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../src/process/run.ts';
import { Bench } from './harness.ts';
import { OwnEngine } from './own-engine.ts';

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
