import assert from 'node:assert/strict';
import { appendFile, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Digest } from '../../src/oci/digest.ts';
import { run } from '../../src/process/run.ts';
import { Cache } from '../../src/smolmachine/cache.ts';
import { cacheRoot } from '../../src/smolmachine/cache-tree.ts';
import { keyOf } from '../../src/smolmachine/entry.ts';
import { CacheUnusable, EntryRefused, NoSpace } from '../../src/smolmachine/errors.ts';
import { asNoSpace, ensureSpace } from '../../src/smolmachine/space.ts';
import { temporary } from '../process/child.ts';
import { artifactFile } from './artifact-file.ts';
import { Clock, digestOf, openCache, publishArtifact, publishLayout, recordOf } from './entries.ts';

const key = keyOf(digestOf('app'));

/** A tmpfs of its own, unmounted with the test. Root ignores permission bits, but no mount option. */
async function mounted(options: string) {
  const directory = await temporary();
  const { code, stderr } = await run('mount', ['-t', 'tmpfs', '-o', options, 'none', directory.path]);
  assert.equal(code, 0, stderr);
  return {
    path: directory.path,
    async [Symbol.asyncDispose]() {
      await run('umount', [directory.path]);
      await directory[Symbol.asyncDispose]();
    },
  };
}

describe('cache directory', () => {
  test('follows XDG_CACHE_HOME if that is absolute', () => {
    assert.equal(cacheRoot({ XDG_CACHE_HOME: '/x' }, '/home/u'), '/x/claude-bottle');
    for (const XDG_CACHE_HOME of [undefined, '', 'relative']) {
      assert.equal(cacheRoot({ XDG_CACHE_HOME }, '/home/u'), '/home/u/.cache/claude-bottle');
    }
  });

  test('is created for this user alone', async () => {
    await using directory = await temporary();
    const { tree } = await openCache(join(directory.path, 'deep', 'cache'));
    for (const path of [tree.root, tree.locksRoot, tree.scratchRoot, ...Object.values(tree.formRoots)]) {
      assert.equal((await stat(path)).mode & 0o777, 0o700);
    }
  });

  test('that is a file, or below one, is refused by name', async () => {
    await using directory = await temporary();
    const file = join(directory.path, 'file');
    await writeFile(file, '');
    for (const path of [file, join(file, 'cache')]) {
      await assert.rejects(
        Cache.open(path),
        (error) => error instanceof CacheUnusable && error.fields.reason === 'not-a-directory',
      );
    }
  });

  test('that is read-only and empty is refused as read-only', async () => {
    await using mount = await mounted('ro,size=1m');
    await assert.rejects(
      Cache.open(join(mount.path, 'cache')),
      (error) => error instanceof CacheUnusable && error.fields.reason === 'read-only',
    );
  });

  test('that became read-only still answers look-ups, and refuses what must write', async () => {
    await using mount = await mounted('size=8m');
    await publishArtifact(await openCache(mount.path), 'app');
    assert.equal((await run('mount', ['-o', 'remount,ro', mount.path])).code, 0);
    const cache = await openCache(mount.path);
    await using _held = await cache.hold(key);
    assert.equal((await cache.lookup('smolmachine', key)).state, 'hit');
    const readOnly = (error: unknown) =>
      error instanceof CacheUnusable && error.fields.reason === 'read-only';
    await assert.rejects(cache.lock(key), readOnly);
    await assert.rejects(cache.scratch(), readOnly);
    await assert.rejects(cache.discard('smolmachine', key), readOnly);
  });
});

describe('space', () => {
  test('missing space is told with the numbers before anything is written', async () => {
    await using mount = await mounted('size=1m');
    await ensureSpace(mount.path, 512 * 1024, 'artifact');
    await assert.rejects(
      ensureSpace(mount.path, 2 * 1024 * 1024, 'artifact'),
      (error) =>
        error instanceof NoSpace &&
        error.fields.neededBytes === 2 * 1024 * 1024 &&
        error.fields.availableBytes === 1024 * 1024 &&
        error.fields.what === 'artifact',
    );
  });

  test('a disk that runs full becomes NoSpace, also as a cause; nothing else does', async () => {
    await using mount = await mounted('size=64k');
    const full = await writeFile(join(mount.path, 'big'), Buffer.alloc(1024 * 1024)).catch((error) => error);
    const wrapped = new Error('pipeline', { cause: full });
    for (const error of [full, wrapped]) {
      const told = await asNoSpace(error, mount.path, 'layer');
      assert.ok(told instanceof NoSpace && told.cause === error && told.fields.path === mount.path);
    }
    const other = new Error('other');
    assert.equal(await asNoSpace(other, mount.path, 'layer'), other);
  });

  test('publishing into a full cache says so and leaves nothing', async () => {
    await using mount = await mounted('size=256k,nr_inodes=15');
    const cache = await openCache(mount.path);
    {
      await using scratch = await cache.scratch();
      await using _lock = await cache.lock(key);
      const prepared = scratch.file('a');
      const bytes = artifactFile();
      await writeFile(prepared, bytes);
      // Take every inode that is left, so that the record finds none.
      for (let made = 0; ; made += 1) {
        if (
          await writeFile(scratch.file(`fill${made}`), '').then(
            () => false,
            () => true,
          )
        )
          break;
      }
      const record = { ...recordOf('app'), sha256: digestOf('x') };
      await assert.rejects(cache.publish('smolmachine', key, prepared, record), NoSpace);
    }
    assert.equal((await cache.lookup('smolmachine', key)).state, 'miss');
    assert.deepEqual(await readdir(cache.tree.formRoots.smolmachine), []);
    assert.deepEqual(await readdir(cache.tree.scratchRoot), []);
    assert.deepEqual(await readdir(cache.tree.locksRoot), []);
  });
});

describe('entries', () => {
  test("a published artifact is a hit with its record, at the design's place", async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    assert.deepEqual(await cache.lookup('smolmachine', key), { state: 'miss' });
    await publishArtifact(cache, 'app');
    const found = await cache.lookup('smolmachine', key, {
      imageId: digestOf('app'),
      platform: 'linux/amd64',
    });
    assert.ok(found.state === 'hit');
    assert.equal(found.entry.path, join(directory.path, 'smolmachines', `${key}.smolmachine`));
    assert.equal(found.entry.record.image.reference, 'app:latest');
    assert.equal(found.entry.record.sizes.artifact, (await stat(found.entry.path)).size);
    const json = JSON.parse(await readFile(join(directory.path, 'smolmachines', `${key}.json`), 'utf8'));
    assert.equal(json.image.id, digestOf('app'));
    assert.deepEqual(await readdir(cache.tree.scratchRoot), []);
    assert.deepEqual(await readdir(cache.tree.locksRoot), []);
  });

  test('a published layout is a hit beside the artifact of the same image', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    const { path } = await publishLayout(cache, 'app');
    assert.equal(path, join(directory.path, 'layouts', key));
    assert.equal((await cache.lookup('oci', key)).state, 'hit');
    assert.equal((await cache.lookup('smolmachine', key)).state, 'miss');
    await publishArtifact(cache, 'app');
    assert.equal((await cache.list()).length, 2);
  });

  test('publishing again replaces, an artifact as well as a layout', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    for (const layer of ['one', 'two']) {
      const artifact = { members: [{ path: 'agent-rootfs.tar', data: Buffer.from(layer.repeat(500)) }] };
      await publishArtifact(cache, 'app', { artifact });
      const entry = await publishLayout(cache, 'app', Buffer.from(layer));
      const found = await cache.lookup('oci', key);
      assert.ok(found.state === 'hit' && found.entry.record.layerDigest === entry.record.layerDigest);
      assert.equal((await cache.lookup('smolmachine', key)).state, 'hit');
    }
    assert.deepEqual((await readdir(join(directory.path, 'layouts'))).sort(), [key, `${key}.json`]);
    assert.equal((await readdir(join(directory.path, 'layouts', key, 'blobs', 'sha256'))).length, 3);
  });

  test('another image, or another platform, under the same key is a miss', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await publishArtifact(cache, 'app');
    const twin: Digest = `sha256:${key}${'0'.repeat(48)}`;
    assert.equal((await cache.lookup('smolmachine', key, { imageId: twin })).state, 'miss');
    assert.equal((await cache.lookup('smolmachine', key, { platform: 'linux/arm64' })).state, 'miss');
  });

  test('what does not fit its record is not published', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await assert.rejects(
      publishArtifact(cache, 'app', { artifact: { manifest: { digest: digestOf('another') } } }),
      EntryRefused,
    );
    await assert.rejects(
      publishArtifact(cache, 'app', { artifact: { footer: { stubSize: 1n } } }),
      EntryRefused,
    );
    assert.equal((await cache.lookup('smolmachine', key)).state, 'miss');
  });

  test('a key never leaves the cache directory', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    for (const bad of ['../../../../etc/x', 'ABCDEF0123456789', '0123456789abcde', '']) {
      assert.throws(() => cache.entryPath('oci', bad), TypeError);
      await assert.rejects(cache.hold(bad), TypeError);
    }
  });

  test('no truncation of an artifact is ever a hit', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    const { path, record } = await publishArtifact(cache, 'app');
    const whole = await readFile(path);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: record.sizes.artifact - 1 }), async (size) => {
        await writeFile(path, whole);
        await truncate(path, size);
        assert.equal((await cache.lookup('smolmachine', key)).state, 'damaged');
      }),
      { numRuns: 200 },
    );
    await writeFile(path, whole);
    assert.equal((await cache.lookup('smolmachine', key)).state, 'hit');
    await appendFile(path, 'x');
    assert.equal((await cache.lookup('smolmachine', key)).state, 'damaged');
    await rm(path);
    assert.equal((await cache.lookup('smolmachine', key)).state, 'damaged');
  });

  test('a layout with a blob cut, missing or of another manifest is damaged', async () => {
    const harms: readonly ((path: string, layer: string) => Promise<void>)[] = [
      (path, layer) => truncate(join(path, 'blobs', 'sha256', layer), 1),
      (path, layer) => rm(join(path, 'blobs', 'sha256', layer)),
      (path) => rm(join(path, 'index.json')),
      (path) => rm(join(path, 'oci-layout')),
      (path) => writeFile(join(path, 'index.json'), '{"manifests":[]}'),
      (path) => rm(path, { recursive: true }),
    ];
    for (const harm of harms) {
      await using directory = await temporary();
      const cache = await openCache(directory.path);
      const { path, record } = await publishLayout(cache, 'app');
      assert.equal((await cache.lookup('oci', key)).state, 'hit');
      await harm(path, record.layerDigest?.slice(7) ?? '');
      assert.equal((await cache.lookup('oci', key)).state, 'damaged', String(harm));
    }
  });

  test('a record that is cut, foreign or of a later version is damage, not a crash', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await publishArtifact(cache, 'app');
    const path = cache.recordPath('smolmachine', key);
    const text = await readFile(path, 'utf8');
    const other = JSON.stringify({ ...JSON.parse(text), key: '0'.repeat(16) });
    for (const bad of [
      '',
      '{',
      'null',
      text.slice(0, -20),
      text.replace('"version": 1', '"version": 2'),
      other,
    ]) {
      await writeFile(path, bad);
      assert.equal((await cache.lookup('smolmachine', key)).state, 'damaged', bad);
    }
    await publishArtifact(cache, 'app');
    assert.equal((await cache.lookup('smolmachine', key)).state, 'hit');
  });

  test('a hit counts as use, and listing puts the latest used first', async () => {
    await using directory = await temporary();
    const clock = new Clock();
    const cache = await openCache(directory.path, clock);
    const references = async () => (await cache.list()).map(({ record }) => record.image.reference);
    await publishArtifact(cache, 'one');
    clock.advance(60_000);
    await publishArtifact(cache, 'two');
    clock.advance(60_000);
    assert.deepEqual(await references(), ['two:latest', 'one:latest']);
    await cache.lookup('smolmachine', keyOf(digestOf('one')));
    assert.deepEqual(await references(), ['one:latest', 'two:latest']);
    const [first] = await cache.list();
    assert.equal(first?.record.lastUsed, clock.now().toISOString());
    assert.notEqual(first?.record.created, first?.record.lastUsed);
  });

  test('discarding removes all of it, and twice is no error', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await publishArtifact(cache, 'app');
    await publishLayout(cache, 'app');
    for (const form of ['smolmachine', 'oci', 'oci'] as const) await cache.discard(form, key);
    assert.deepEqual(await readdir(join(directory.path, 'smolmachines')), []);
    assert.deepEqual(await readdir(join(directory.path, 'layouts')), []);
  });

  test('files that are not ours are left out of everything', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await writeFile(join(directory.path, 'smolmachines', 'README'), '');
    await mkdir(join(directory.path, 'layouts', 'mine'));
    assert.deepEqual(await cache.scan(), []);
  });
});
