import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { Bench, countsOf } from './harness.ts';

/** A file system of that size, unmounted on disposal. Needs root. */
async function smallDisk(megabytes: number): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'small-disk-'));
  const mounted = await run('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=711`, 'tmpfs', path]);
  assert.equal(mounted.code, 0, mounted.stderr);
  return {
    path,
    async [Symbol.asyncDispose]() {
      await run('umount', ['-l', path]);
      await rm(path, { recursive: true, force: true });
    },
  };
}

test('a disk that is too small is told with the numbers, before anything is written', async () => {
  await using disk = await smallDisk(40);
  await using bench = await Bench.open({ megabytes: 12, cache: join(disk.path, 'cache') });
  const { code, stderr } = await bench.run(['pack', bench.project]);
  assert.equal(code, 4, stderr);
  assert.match(stderr, /there is not enough room for the conversion/);
  assert.match(stderr, /About \d+(\.\d+)? MB are needed, \d+(\.\d+)? MB are free/);
  assert.deepEqual(Object.values(await bench.leftovers()).flat(), []);
});

for (const feeder of ['push', 'save', 'export']) {
  test(`a disk that runs full in the middle of ${feeder} gives a clear error and leaves nothing`, async () => {
    await using disk = await smallDisk(420);
    await using bench = await Bench.open({ megabytes: 60, cache: join(disk.path, 'cache') });
    const other = join(disk.path, 'other');
    const running = bench.run(['pack', bench.project, '--feeder', feeder]);
    // Somebody else fills the disk once there was room enough and the first layer is on its way.
    const filled = untilArriving(bench.root).then(() =>
      run('sh', ['-c', 'head -c 500M /dev/zero >"$0" 2>/dev/null', other]),
    );
    const { code, stderr } = await running;
    await filled;
    assert.equal(code, 4, stderr);
    assert.match(stderr, /not enough room|disk ran full/);
    const left = await bench.leftovers();
    assert.deepEqual(Object.values(left).flat(), [], countsOf(left));
    await rm(other);
    const again = await bench.run(['pack', bench.project, '--feeder', feeder]);
    assert.equal(again.code, 0, again.stderr);
  });
}

/** Waits until the first layer is being written, wherever it goes. */
async function untilArriving(root: string): Promise<void> {
  for (let tries = 0; tries < 3_000; tries += 1) {
    const { stdout } = await run('sh', ['-c', 'find "$0/tmp" -name "layer-*.tar"', root]);
    if (stdout !== '') return;
  }
  throw new Error('no layer came');
}
