import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
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
    await using disk = await smallDisk(140);
    await using bench = await Bench.open({ megabytes: 12, cache: join(disk.path, 'cache') });
    await mkdir(join(disk.path, 'other'));
    // Somebody else fills the disk once the numbers were checked: the file grows while the conversion runs.
    const filler = run('sh', [
      '-c',
      'sleep 0.2; head -c 200M /dev/zero >"$0" 2>/dev/null',
      join(disk.path, 'other/file'),
    ]);
    const { code, stderr } = await bench.run(['pack', bench.project, '--feeder', feeder], {
      FAKE_SMOLVM_DELAY_MS: '1500',
    });
    await filler;
    assert.equal(code, 4, stderr);
    assert.match(stderr, /not enough room|disk ran full/);
    const left = await bench.leftovers();
    assert.deepEqual(Object.values(left).flat(), [], countsOf(left));
    await rm(join(disk.path, 'other'), { recursive: true });
    const again = await bench.run(['pack', bench.project, '--feeder', feeder]);
    assert.equal(again.code, 0, again.stderr);
  });
}
