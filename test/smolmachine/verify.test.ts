import assert from 'node:assert/strict';
import { readdir, readFile, rename, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Digest } from '../../src/oci/digest.ts';
import { LayerMissing } from '../../src/oci/errors.ts';
import type { Cache } from '../../src/smolmachine/cache.ts';
import { keyOf } from '../../src/smolmachine/entry.ts';
import { type VerifyOptions, type VerifyResult, verifyCache } from '../../src/smolmachine/verify.ts';
import { temporary } from '../process/child.ts';
import { digestOf, openCache, publishArtifact, publishLayout, ShelfOfLayers } from './entries.ts';

const key = keyOf(digestOf('app'));

async function verified(cache: Cache, shelf = new ShelfOfLayers({}), options: VerifyOptions = {}) {
  const results: VerifyResult[] = [];
  for await (const result of verifyCache(cache, shelf, options)) results.push(result);
  return results;
}

const states = (results: readonly VerifyResult[]) => results.map(({ kind, state }) => [kind, state]);

async function flip(path: string, bit: number): Promise<void> {
  const bytes = await readFile(path);
  bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
  await writeFile(path, bytes);
}

describe('verifying the cache', () => {
  test('reads everything and finds a sound cache sound', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    const { record } = await publishArtifact(cache, 'app');
    const layout = await publishLayout(cache, 'app', Buffer.alloc(3_000_000, 'x'));
    let bytes = 0;
    const onBytes = (count: number) => {
      bytes += count;
    };
    const results = await verified(cache, new ShelfOfLayers({ a: 5 }), { onBytes, deep: true });
    assert.deepEqual(states(results), [
      ['smolmachine', 'ok'],
      ['oci', 'ok'],
      ['layer', 'ok'],
    ]);
    assert.ok(bytes >= record.sizes.artifact + 3_000_000 + 5);
    assert.ok(bytes <= record.sizes.artifact + layout.record.sizes.artifact + 5);
  });

  test('yields each result before it goes on', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await publishArtifact(cache, 'one');
    await publishArtifact(cache, 'two');
    const results = verifyCache(cache, new ShelfOfLayers({}));
    const first = await results.next();
    assert.equal(first.value?.state, 'ok');
    for (const name of ['one', 'two']) {
      const entry = cache.entryPath('smolmachine', keyOf(digestOf(name)));
      await truncate(entry, 10);
    }
    const second = await results.next();
    assert.equal(second.value?.state, 'damaged');
  });

  test('finds any flipped bit and any truncation of an artifact', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    const { path, record } = await publishArtifact(cache, 'app');
    const whole = await readFile(path);
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.integer({ min: 0, max: record.sizes.artifact * 8 - 1 }).map((bit) => ({ bit })),
          fc.integer({ min: 0, max: record.sizes.artifact - 1 }).map((size) => ({ size })),
        ),
        async (harm) => {
          await writeFile(path, whole);
          await ('bit' in harm ? flip(path, harm.bit) : truncate(path, harm.size));
          const [result] = await verified(cache);
          assert.equal(result?.state, 'damaged');
        },
      ),
      { numRuns: 200 },
    );
  });

  test('finds any flipped bit in any file of a layout that counts', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    const { path, record } = await publishLayout(cache, 'app', Buffer.from('a layer'));
    for (const digest of [record.manifestDigest, record.configDigest, record.layerDigest]) {
      const blob = join(path, 'blobs', 'sha256', digest?.slice(7) ?? '');
      const whole = await readFile(blob);
      for (let bit = 0; bit < whole.length * 8; bit += 5) {
        await flip(blob, bit);
        assert.deepEqual(states(await verified(cache)), [['oci', 'damaged']]);
        await writeFile(blob, whole);
      }
    }
    assert.deepEqual(states(await verified(cache)), [['oci', 'ok']]);
  });

  test('only tells by default, and removes what is damaged when asked', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    const shelf = new ShelfOfLayers({ good: 1, bad: 2 });
    shelf.damaged.add(digestOf('bad'));
    await flip((await publishArtifact(cache, 'app')).path, 99);
    await publishArtifact(cache, 'sound');
    await writeFile(join(cache.tree.formRoots.oci, `${'a'.repeat(16)}.part`), '');
    const told = await verified(cache, shelf);
    assert.deepEqual(
      told.filter(({ state }) => state !== 'ok').map(({ kind, state, removed }) => [kind, state, removed]),
      [
        ['smolmachine', 'damaged', false],
        ['oci', 'orphan', false],
        ['layer', 'damaged', false],
      ],
    );
    assert.ok(told.every(({ state, reason }) => (state === 'ok') === (reason === undefined)));
    const fixed = await verified(cache, shelf, { fix: true });
    assert.deepEqual(
      fixed.filter(({ removed }) => removed).map(({ kind }) => kind),
      ['smolmachine', 'oci', 'layer'],
    );
    assert.equal((await cache.lookup('smolmachine', key)).state, 'miss');
    assert.deepEqual([...shelf.bytes.keys()], [digestOf('good')]);
    assert.deepEqual(await readdir(cache.tree.formRoots.oci), []);
    assert.ok((await verified(cache, shelf)).every(({ state }) => state === 'ok'));
  });

  test('leaves out a layer that is pruned meanwhile, and goes on', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    class Shrinking extends ShelfOfLayers {
      override async verify(diffId: Digest) {
        if (diffId === digestOf('gone')) throw new LayerMissing({ diffId });
        return super.verify(diffId);
      }
    }
    const results = await verified(cache, new Shrinking({ gone: 1, here: 2 }));
    assert.deepEqual(states(results), [['layer', 'ok']]);
  });

  test('stops in the middle of a layer when it is interrupted', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    const interruption = new AbortController();
    const reason = new Error('enough');
    class Endless extends ShelfOfLayers {
      override async verify(_diffId: Digest, signal?: AbortSignal): Promise<'ok'> {
        interruption.abort(reason);
        signal?.throwIfAborted();
        return 'ok';
      }
    }
    const { signal } = interruption;
    await assert.rejects(verified(cache, new Endless({ one: 1 }), { signal }), reason);
  });

  test('removes a damaged layer only when no other run can be using it', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    const shelf = new ShelfOfLayers({ bad: 2 });
    shelf.damaged.add(digestOf('bad'));
    {
      await using _other = await cache.scratch();
      const [result] = await verified(cache, shelf, { fix: true });
      assert.deepEqual([result?.state, result?.removed, shelf.bytes.size], ['damaged', false, 1]);
    }
    const [result] = await verified(cache, shelf, { fix: true });
    assert.deepEqual([result?.removed, shelf.bytes.size], [true, 0]);
    assert.deepEqual(await readdir(cache.tree.locksRoot), []);
  });

  test('removes layers under the lock that a run which begins waits for', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    let begun: Promise<AsyncDisposable> | undefined;
    let removed = false;
    let early = false;
    class Slow extends ShelfOfLayers {
      override async remove(diffId: Digest) {
        begun = cache.scratch().then((scratch) => {
          early = !removed;
          return scratch;
        });
        await new Promise((resolve) => setTimeout(resolve, 150));
        removed = true;
        return super.remove(diffId);
      }
    }
    const shelf = new Slow({ bad: 2 });
    shelf.damaged.add(digestOf('bad'));
    await verified(cache, shelf, { fix: true });
    await (await begun)?.[Symbol.asyncDispose]();
    assert.deepEqual([removed, early], [true, false]);
  });

  test('keeps a layer that was brought anew after it was found damaged', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    class Mended extends ShelfOfLayers {
      override async verify(diffId: Digest) {
        const state = await super.verify(diffId);
        this.damaged.delete(diffId);
        return state;
      }
    }
    const shelf = new Mended({ bad: 2 });
    shelf.damaged.add(digestOf('bad'));
    const [result] = await verified(cache, shelf, { fix: true });
    assert.deepEqual([result?.state, result?.removed, shelf.bytes.size], ['damaged', false, 1]);
  });

  test('judges nothing that a later release made', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await publishArtifact(cache, 'app');
    await writeFile(cache.recordPath('smolmachine', key), '{"version":2}');
    assert.deepEqual(await verified(cache, new ShelfOfLayers({}), { fix: true }), []);
    assert.equal((await readdir(cache.tree.formRoots.smolmachine)).length, 2);
  });

  test('does not remove files without a record while somebody uses them', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await publishArtifact(cache, 'app');
    const record = cache.recordPath('smolmachine', key);
    await rename(record, `${record}.hidden`);
    await using _held = await cache.hold(key);
    const [result] = await verified(cache, new ShelfOfLayers({}), { fix: true });
    assert.deepEqual([result?.state, result?.removed], ['orphan', false]);
    assert.equal((await readdir(cache.tree.formRoots.smolmachine)).length, 2);
  });

  test('does not remove a damaged entry that is being made anew', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await flip((await publishArtifact(cache, 'app')).path, 99);
    await using _lock = await cache.lock(key);
    const [result] = await verified(cache, new ShelfOfLayers({}), { fix: true });
    assert.deepEqual([result?.state, result?.removed], ['damaged', false]);
    assert.equal((await cache.list()).length, 1);
  });
});
