import assert from 'node:assert/strict';
import {
  appendFile,
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Digest } from '../../src/oci/digest.ts';
import { keyOf } from '../../src/smolmachine/entry.ts';
import { EntryRefused, NoSpace } from '../../src/smolmachine/errors.ts';
import { asNoSpace, ensureSpace } from '../../src/smolmachine/space.ts';
import { temporary } from '../process/child.ts';
import { artifactFile, sha256Of } from './artifact-file.ts';
import {
  Clock,
  digestOf,
  openCache,
  publishArtifact,
  publishLayout,
  recordOf,
  writeLayout,
} from './entries.ts';
import { mounted } from './mounted.ts';

const key = keyOf(digestOf('app'));

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

  test('a hold that finds no room says so', async () => {
    await using mount = await mounted('size=256k,nr_inodes=15');
    const cache = await openCache(mount.path);
    const fill = (made = 0): Promise<void> =>
      symlink('x', join(cache.tree.scratchRoot, `fill${made}`)).then(
        () => fill(made + 1),
        () => undefined,
      );
    await fill();
    await assert.rejects(cache.hold(key), NoSpace);
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

  test('where a flat image is wanted, one that smolvm merged itself is a miss', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await publishArtifact(cache, 'app');
    assert.equal((await cache.lookup('smolmachine', key, { flat: false })).state, 'hit');
    assert.equal((await cache.lookup('smolmachine', key, { flat: true })).state, 'miss');
    await publishLayout(cache, 'app');
    assert.equal((await cache.lookup('oci', key, { flat: true })).state, 'hit');
  });

  test("are this user's alone, whatever mode they were made with", async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await using scratch = await cache.scratch();
    const [file, layout] = [scratch.file('a'), scratch.file('layout')];
    const bytes = artifactFile();
    await writeFile(file, bytes);
    await chmod(file, 0o644);
    const record = { ...recordOf('app'), sha256: sha256Of(bytes) };
    const artifact = await cache.publish('smolmachine', key, file, record);
    assert.equal((await stat(artifact.path)).mode & 0o777, 0o600);
    const digests = await writeLayout(layout, Buffer.from('x'));
    const { path } = await cache.publish('oci', key, layout, { ...recordOf('app'), ...digests });
    const parts = await readdir(path, { recursive: true });
    assert.ok(parts.length >= 5);
    for (const part of [path, ...parts.map((name) => join(path, name))]) {
      const stats = await stat(part);
      assert.equal(stats.mode & 0o777, stats.isDirectory() ? 0o700 : 0o600, part);
    }
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

  test('a record of a later release is neither hit nor damage, and gives way to a new one', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await publishArtifact(cache, 'app');
    const path = cache.recordPath('smolmachine', key);
    await writeFile(path, '{"version":2,"anything":"else"}');
    assert.equal((await cache.lookup('smolmachine', key)).state, 'miss');
    assert.deepEqual(await cache.list(), []);
    assert.deepEqual(await cache.scan(), [{ state: 'newer', form: 'smolmachine', key }]);
    await publishArtifact(cache, 'app');
    assert.equal((await cache.lookup('smolmachine', key)).state, 'hit');
  });

  test('a held entry whose record a killed prune left hidden is a hit again', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    await publishArtifact(cache, 'app');
    const record = cache.recordPath('smolmachine', key);
    await rename(record, `${record}.hidden`);
    await using _lock = await cache.lock(key);
    {
      await using _held = await cache.hold(key);
      assert.equal(await cache.discardUnlessHeld('smolmachine', key), false);
      assert.equal((await cache.lookup('smolmachine', key)).state, 'hit');
    }
    assert.equal(await cache.discardUnlessHeld('smolmachine', key), true);
    assert.deepEqual(await readdir(cache.tree.formRoots.smolmachine), []);
  });

  test('a record that is cut, foreign or of no version is damage, not a crash', async () => {
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
      text.replace('"version": 1', '"version": 0'),
      text.replace('"version": 1', '"version": "2"'),
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
    assert.equal(first!.record.lastUsed, clock.now().toISOString());
    assert.notEqual(first!.record.created, first!.record.lastUsed);
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
