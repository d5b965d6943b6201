import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { mounted } from '../smolmachine/mounted.ts';
import { bottle, forging } from './bottle.ts';
import { repository, snapshot, temporary } from './repository.ts';

test('a bundle without end is refused at the limit, and before the disk is full', async () => {
  using directory = temporary();
  const source = join(directory.path, 'source');
  repository(source);
  using one = await bottle(source);
  const endless = () =>
    Readable.from(
      (function* () {
        for (;;) yield Buffer.alloc(1 << 20);
      })(),
    );
  const before = snapshot(source);
  await assert.rejects(
    one.collect({ limits: { bundleBytes: 8 << 20 } }, forging(one.place, endless)),
    (error: { name: string; fields?: { by: string } }) =>
      error.name === 'WorkTooLarge' && error.fields?.by === 'size',
  );
  // Whatever is asked for, a disk is not filled.
  await using small = await mounted('size=16m');
  await assert.rejects(
    one.collect({ scratchDirectory: small.path }, forging(one.place, endless)),
    (error: { fields?: { by: string; limitBytes: number } }) =>
      error.fields?.by === 'room' && error.fields.limitBytes < (16 << 20) / 3,
  );
  assert.deepEqual(snapshot(source), before);
});
