import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../src/process/run.ts';
import { Bench, countsOf } from './harness.ts';
import { RegistryImage } from './registry-image.ts';

const kills = Number(process.env['FAULT_KILLS'] ?? 100);

test(`${kills} SIGKILLs at random moments of a pack leave nothing that the next pack does not mend`, async (context) => {
  await using registryImage = await RegistryImage.build();
  await using bench = await Bench.open({ megabytes: 12 });
  const env = { CLAUDE_BOTTLE_REGISTRY_IMAGE: registryImage.name, FAKE_SMOLVM_VM_SECONDS: '120' };
  const ways = [
    ['--feeder', 'push'],
    ['--feeder', 'save'],
    ['--feeder', 'export'],
    ['--registry', 'container'],
  ];
  const pack = ['pack', bench.project];
  const started = performance.now();
  const first = await bench.run(pack, env);
  assert.equal(first.code, 0, first.stderr);
  const whole = performance.now() - started;

  let killed = 0;
  let finished = 0;
  while (killed < kills) {
    await rm(join(bench.root, 'smolmachines'), { recursive: true, force: true });
    // Every other time the layers are gone too, so that the feeders have all their work.
    if (killed % 2 === 0) await rm(join(bench.root, 'layers'), { recursive: true, force: true });
    const child = bench.start([...pack, ...ways[killed % ways.length]!], env);
    const ended = once(child, 'exit').then(() => 'ended' as const);
    const moment = sleep(Math.random() * whole * 1.1).then(() => 'now' as const);
    if ((await Promise.race([ended, moment])) === 'now') {
      child.kill('SIGKILL');
      await ended;
      killed += 1;
    } else finished += 1;
  }

  const clean = await bench.run([...pack, '--json'], env);
  assert.equal(clean.code, 0, clean.stderr);
  const verified = await bench.run(['cache', 'verify', '--deep'], env);
  assert.equal(verified.code, 0, verified.stderr);
  const { path } = JSON.parse(clean.stdout) as { path: string };
  const info = await run(bench.env['CLAUDE_BOTTLE_SMOLVM']!, ['pack', 'run', '--sidecar', path, '--info']);
  assert.equal(info.code, 0, info.stderr);

  const left = await bench.leftovers();
  context.diagnostic(`${killed} kills, ${finished} finished first; left: ${countsOf(left)}`);
  console.log(`faults: ${killed} SIGKILLs; left after one clean pack: ${countsOf(left)}`);
  assert.deepEqual(Object.values(left).flat(), []);
});

test('Ctrl-C, SIGTERM and SIGHUP in the middle leave nothing at once, and exit with 130', async () => {
  await using bench = await Bench.open({ megabytes: 6 });
  for (const [index, signal] of (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).entries()) {
    const child = bench.start(['pack', bench.project, '--no-cache'], { FAKE_SMOLVM_FAIL: 'hang' });
    const ended = once(child, 'exit');
    await sleep(400 + index * 700);
    child.kill(signal);
    const [code] = (await ended) as [number | null];
    assert.equal(code, 130, signal);
    const left = await bench.leftovers();
    assert.deepEqual(Object.values(left).flat(), [], `${signal}: ${countsOf(left)}`);
  }
});
