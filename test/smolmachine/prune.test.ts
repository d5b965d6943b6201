import assert from 'node:assert/strict';
import { readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Cache } from '../../src/smolmachine/cache.ts';
import { type CacheEntry, keyOf } from '../../src/smolmachine/entry.ts';
import { prune } from '../../src/smolmachine/prune.ts';
import { condemn } from '../../src/smolmachine/prune-policy.ts';
import { node, temporary } from '../process/child.ts';
import {
  Clock,
  digestOf,
  openCache,
  publishArtifact,
  publishLayout,
  recordOf,
  ShelfOfLayers,
} from './entries.ts';

const hour = 3_600_000;

/** Entries `one` to `four`, each used an hour after the one before; `one` and `two` share a layer. */
async function filled(root: string) {
  const clock = new Clock();
  const cache = await openCache(root, clock);
  const shelf = new ShelfOfLayers({ base: 1000, top: 10, three: 100, four: 1, stray: 7 });
  await publishArtifact(cache, 'one', { layers: ['base', 'top'] });
  clock.advance(hour);
  await publishArtifact(cache, 'two', { layers: ['base'] });
  clock.advance(hour);
  await publishArtifact(cache, 'three', { layers: ['three'] });
  clock.advance(hour);
  await publishLayout(cache, 'four');
  return { cache, shelf, clock };
}

const names = (entries: readonly CacheEntry[]) =>
  entries.map(({ record }) => record.image.reference.replace(':latest', ''));
const left = async (cache: Cache) => names(await cache.list());
const onShelf = (shelf: ShelfOfLayers, ...wanted: string[]) =>
  assert.deepEqual(new Set(shelf.bytes.keys()), new Set(wanted.map(digestOf)));

describe('prune', () => {
  test('without a rule removes only layers that nothing was made of', async () => {
    await using directory = await temporary();
    const { cache, shelf } = await filled(directory.path);
    const report = await prune(cache, shelf, {});
    assert.deepEqual(report.removed, []);
    assert.deepEqual(
      new Set(report.layersRemoved.map(({ diffId }) => diffId)),
      new Set(['stray', 'four'].map(digestOf)),
    );
    assert.equal(report.freedBytes, 8);
    assert.equal((await left(cache)).length, 4);
  });

  test('by age removes what was not used for longer, and keeps shared layers', async () => {
    await using directory = await temporary();
    const { cache, shelf, clock } = await filled(directory.path);
    const report = await prune(cache, shelf, { olderThanMs: 2.5 * hour, now: clock.now() });
    assert.deepEqual(names(report.removed), ['one']);
    assert.deepEqual(await left(cache), ['four', 'three', 'two']);
    onShelf(shelf, 'base', 'three');
    const bytes = report.removed[0]?.record.sizes.artifact ?? 0;
    assert.equal(report.freedBytes, bytes + 10 + 1 + 7);
  });

  test('a hit makes an entry young again', async () => {
    await using directory = await temporary();
    const { cache, shelf, clock } = await filled(directory.path);
    await cache.lookup('smolmachine', keyOf(digestOf('one')));
    const report = await prune(cache, shelf, { keep: 2, now: clock.now() });
    assert.deepEqual(names(report.removed), ['two', 'three']);
  });

  test('by count keeps the most recently used', async () => {
    await using directory = await temporary();
    const { cache, shelf } = await filled(directory.path);
    assert.deepEqual(names((await prune(cache, shelf, { keep: 1 })).removed), ['one', 'two', 'three']);
    assert.deepEqual(await left(cache), ['four']);
    onShelf(shelf);
  });

  test('everything goes with all, and the directories are empty', async () => {
    await using directory = await temporary();
    const { cache, shelf } = await filled(directory.path);
    await prune(cache, shelf, { all: true });
    for (const root of [...Object.values(cache.tree.formRoots), cache.tree.locksRoot]) {
      assert.deepEqual(await readdir(root), []);
    }
    onShelf(shelf);
  });

  test('a dry run tells the same and does nothing', async () => {
    await using directory = await temporary();
    const { cache, shelf } = await filled(directory.path);
    await writeFile(join(cache.tree.formRoots.oci, `${'0'.repeat(16)}.part`), 'xyz');
    const dry = await prune(cache, shelf, { keep: 1, dryRun: true });
    assert.equal((await left(cache)).length, 4);
    assert.equal(shelf.bytes.size, 5);
    assert.deepEqual(await prune(cache, shelf, { keep: 1 }), dry);
  });

  test('never removes what another process is making, or holds', async () => {
    await using directory = await temporary();
    const { cache, shelf } = await filled(directory.path);
    const user = node(
      `import { Cache } from 'src/smolmachine/cache.ts';
       const [root, made, held] = process.argv.slice(1);
       const cache = await Cache.open(root);
       await cache.lock(made);
       await cache.hold(held);
       process.stdin.resume();
       console.log('up');`,
      [directory.path, keyOf(digestOf('one')), keyOf(digestOf('two'))],
    );
    await user.line();
    const report = await prune(cache, shelf, { all: true });
    assert.deepEqual(names(report.keptInUse), ['one', 'two']);
    assert.deepEqual(await left(cache), ['two', 'one']);
    onShelf(shelf, 'base', 'top');
    user.kill();
    await user.end();
    assert.deepEqual(names((await prune(cache, shelf, { all: true })).removed), ['one', 'two']);
    assert.deepEqual(await readdir(cache.tree.locksRoot), []);
  });

  test('an entry taken into use after it was chosen is kept, and stays a hit', async () => {
    await using directory = await temporary();
    const { cache } = await filled(directory.path);
    const key = keyOf(digestOf('one'));
    await using _held = await cache.hold(key);
    await using _lock = await cache.lock(key);
    assert.equal(await cache.discardUnlessHeld('smolmachine', key), false);
    assert.equal((await cache.lookup('smolmachine', key)).state, 'hit');
  });

  test('leaves every layer alone while another run may use it', async () => {
    await using directory = await temporary();
    const { cache, shelf } = await filled(directory.path);
    await using own = await cache.scratch();
    {
      await using _other = await cache.scratch();
      const report = await prune(cache, shelf, { all: true, own });
      assert.equal(report.removed.length, 4);
      assert.deepEqual([report.layersInUse, report.layersRemoved.length, shelf.bytes.size], [true, 0, 5]);
    }
    const report = await prune(cache, shelf, { own });
    assert.deepEqual([report.layersInUse, report.layersRemoved.length, shelf.bytes.size], [false, 5, 0]);
  });

  test('a run that begins while layers are removed waits for the end of it', async () => {
    await using directory = await temporary();
    const { cache } = await filled(directory.path);
    let begun: Promise<AsyncDisposable> | undefined;
    let over = false;
    let early = false;
    const slow = {
      list: async () => [{ diffId: digestOf('stray'), bytes: 7 }],
      remove: async () => {
        begun = cache.scratch().then((scratch) => {
          early = !over;
          return scratch;
        });
        await new Promise((resolve) => setTimeout(resolve, 150));
        over = true;
      },
    };
    await prune(cache, slow, {});
    await (await begun)?.[Symbol.asyncDispose]();
    assert.deepEqual([over, early], [true, false]);
  });

  test('removes what killed runs left, but not under a lock that is held', async () => {
    await using directory = await temporary();
    const { cache, shelf } = await filled(directory.path);
    const orphan = (digit: string) =>
      join(cache.tree.formRoots.smolmachine, `${digit.repeat(16)}.smolmachine`);
    for (const digit of ['a', 'b']) await writeFile(orphan(digit), '1234');
    {
      await using _lock = await cache.lock('b'.repeat(16));
      assert.deepEqual((await prune(cache, shelf, {})).orphans, [orphan('a')]);
    }
    const report = await prune(cache, shelf, {});
    assert.deepEqual([report.orphans, report.freedBytes], [[orphan('b')], 4]);
  });

  test('leaves what a later release made alone', async () => {
    await using directory = await temporary();
    const { cache, shelf } = await filled(directory.path);
    const key = keyOf(digestOf('one'));
    await writeFile(cache.recordPath('smolmachine', key), '{"version":2}');
    const report = await prune(cache, shelf, { all: true });
    assert.deepEqual(report.orphans, []);
    assert.deepEqual((await readdir(cache.tree.formRoots.smolmachine)).sort(), [
      `${key}.json`,
      `${key}.smolmachine`,
    ]);
  });

  test('removes a record that cannot be read, with its files', async () => {
    await using directory = await temporary();
    const { cache, shelf } = await filled(directory.path);
    await writeFile(cache.recordPath('smolmachine', keyOf(digestOf('one'))), '{"version":1}');
    assert.equal((await prune(cache, shelf, {})).orphans.length, 2);
  });

  test('an entry in use whose record a killed prune left hidden is kept', async () => {
    await using directory = await temporary();
    const { cache, shelf } = await filled(directory.path);
    const key = keyOf(digestOf('one'));
    const record = cache.recordPath('smolmachine', key);
    await rename(record, `${record}.hidden`);
    {
      await using _held = await cache.hold(key);
      assert.deepEqual((await prune(cache, shelf, { all: true })).orphans, []);
    }
    assert.equal((await prune(cache, shelf, {})).orphans.length, 2);
  });

  test('by size removes the least recently used until the rest fits, and no more', () => {
    const layers = ['a', 'b', 'c', 'd'];
    const entryArb = fc.record({
      artifact: fc.integer({ min: 0, max: 50 }),
      layers: fc.uniqueArray(fc.constantFrom(...layers)),
      used: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.array(entryArb, { maxLength: 8 }),
        fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 4, maxLength: 4 }),
        fc.integer({ min: 0, max: 300 }),
        (made, sizes, maxBytes) => {
          const layerBytes = new Map(layers.map((name, at) => [digestOf(name), sizes[at] ?? 0]));
          const entries = made.map((one, at) => entryOf(at, one.artifact, one.layers));
          const inUse = new Set(entries.filter((_, at) => made[at]?.used).map(({ record }) => record.key));
          const { remove } = condemn(entries, layerBytes, { rules: { maxBytes }, inUse, now: new Date() });
          const total = (kept: readonly CacheEntry[]) =>
            kept.reduce((sum, { record }) => sum + record.sizes.artifact, 0) +
            [...new Set(kept.flatMap(({ record }) => record.layers))].reduce(
              (sum, layer) => sum + (layerBytes.get(layer) ?? 0),
              0,
            );
          const without = (gone: readonly CacheEntry[]) => entries.filter((entry) => !gone.includes(entry));
          const free = entries.filter(({ record }) => !inUse.has(record.key));
          // The removed are the oldest free ones, enough of them, and one fewer would not do.
          assert.deepEqual(remove, free.slice(0, remove.length));
          if (remove.length < free.length) assert.ok(total(without(remove)) <= maxBytes);
          if (remove.length > 0) assert.ok(total(without(remove.slice(0, -1))) > maxBytes);
        },
      ),
    );
  });
});

function entryOf(at: number, artifact: number, layers: readonly string[]): CacheEntry {
  const time = new Date(Date.parse('2026-09-01T00:00:00Z') + at * hour).toISOString();
  const record = recordOf(`entry ${at}`, layers);
  const key = keyOf(record.image.id);
  const known = { version: 1, form: 'smolmachine', key, created: time, lastUsed: time } as const;
  return { path: `/${at}`, record: { ...record, ...known, sizes: { artifact } } };
}
