import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { OutputExists, OutputUnwritable } from '../../src/commands/errors.ts';
import { copyOut, nameFile } from '../../src/commands/pack-output.ts';
import { Cache } from '../../src/smolmachine/cache.ts';
import { type CacheEntry, keyOf } from '../../src/smolmachine/entry.ts';
import { verifyLayoutBlobs } from '../../src/smolmachine/entry-layout.ts';
import { EntryChanged } from '../../src/smolmachine/errors.ts';
import { prune } from '../../src/smolmachine/prune.ts';
import { node, temporary, until } from '../process/child.ts';
import {
  digestOf,
  openCache,
  publishArtifact,
  publishLayout,
  ShelfOfLayers,
} from '../smolmachine/entries.ts';
import { mounted } from '../smolmachine/mounted.ts';

const key = keyOf(digestOf('app'));
const never = new AbortController().signal;

/** A cache in a directory of its own, and an empty directory beside it. */
async function place() {
  const directory = await temporary();
  const out = join(directory.path, 'out');
  await mkdir(out);
  return {
    root: join(directory.path, 'cache'),
    out,
    output: join(out, 'result'),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

async function assertWhole({ path, record }: CacheEntry): Promise<void> {
  const { manifestDigest, configDigest } = record;
  assert.ok(manifestDigest);
  assert.equal(await verifyLayoutBlobs(path, { manifestDigest, configDigest }), undefined);
}

const isChanged = (error: unknown) => error instanceof EntryChanged && error.fields.key === key;

describe('the copy of an entry', () => {
  test('is the same bytes, this user’s alone, and nothing else is left', async () => {
    await using at = await place();
    const cache = await openCache(at.root);
    const artifact = await publishArtifact(cache, 'app');
    assert.equal((await copyOut(cache, artifact, at.output, never)).path, at.output);
    assert.deepEqual(await readFile(at.output), await readFile(artifact.path));
    assert.equal((await stat(at.output)).mode & 0o777, 0o600);
    await rm(at.output);
    const layout = await publishLayout(cache, 'app', Buffer.alloc(3_000_000, 'x'));
    await assertWhole(await copyOut(cache, layout, at.output, never));
    assert.deepEqual(await readdir(at.out), ['result']);
    for (const root of [cache.tree.locksRoot, cache.tree.scratchRoot])
      assert.deepEqual(await readdir(root), []);
  });

  test('waits for whoever is changing the entry, and while it is made nobody can', async () => {
    await using at = await place();
    const cache = await openCache(at.root);
    const entry = await publishLayout(cache, 'app', Buffer.alloc(64_000_000, 'x'));
    const lock = await cache.lock(key);
    const copying = copyOut(cache, entry, at.output, never);
    await until(async () => (await readdir(cache.tree.scratchRoot)).length > 0);
    assert.deepEqual(await readdir(at.out), []);
    await lock[Symbol.asyncDispose]();
    await until(async () => (await readdir(at.out)).length > 0);
    const during = await prune(cache, new ShelfOfLayers({}), { all: true });
    const copy = await copying;
    assert.deepEqual([during.removed.length, during.keptInUse.length], [0, 1]);
    await assertWhole(copy);
  });

  test('is whole, however often others publish, prune and discard meanwhile', async () => {
    await using at = await place();
    const cache = await openCache(at.root);
    const maker = node(
      `import { Cache } from 'src/smolmachine/cache.ts';
       import { publishLayout, ShelfOfLayers } from 'test/smolmachine/entries.ts';
       import { prune } from 'src/smolmachine/prune.ts';
       const cache = await Cache.open(process.argv[1]);
       for (let round = 0; ; round += 1) {
         await publishLayout(cache, 'app', Buffer.alloc(2_000_000, String(round)));
         if (round === 0) console.log('up');
         await new Promise((resolve) => setTimeout(resolve, 5));
         if (round % 4 === 3) await prune(cache, new ShelfOfLayers({}), { all: true });
       }`,
      [at.root],
    );
    await maker.line();
    for (let copied = 0; copied < 30;) {
      const found = await cache.lookup('oci', key);
      assert.notEqual(found.state, 'damaged');
      if (found.state !== 'hit') continue;
      try {
        await assertWhole(await copyOut(cache, found.entry, at.output, never));
        copied += 1;
      } catch (error) {
        if (!isChanged(error)) throw error;
      }
      await rm(at.output, { recursive: true, force: true });
      assert.deepEqual(await readdir(at.out), []);
    }
    maker.kill();
    await maker.end();
  });

  test('is of the entry that is there now, and says so', async () => {
    await using at = await place();
    const cache = await openCache(at.root);
    const old = await publishLayout(cache, 'app', Buffer.from('old'));
    const now = await publishLayout(cache, 'app', Buffer.from('new'));
    const copy = await copyOut(cache, old, at.output, never);
    assert.equal(copy.record.layerDigest, now.record.layerDigest);
    await assertWhole(copy);
  });

  test('of an entry that went, is damaged or is of another image is a failure that names the entry', async () => {
    await using at = await place();
    const cache = await openCache(at.root);
    const entry = await publishLayout(cache, 'app');
    const other = {
      ...entry,
      record: { ...entry.record, image: { ...entry.record.image, id: digestOf('other') } },
    };
    await assert.rejects(copyOut(cache, other, at.output, never), isChanged);
    await rm(join(entry.path, 'index.json'));
    await assert.rejects(copyOut(cache, entry, at.output, never), isChanged);
    await cache.discard('oci', key);
    await assert.rejects(copyOut(cache, entry, at.output, never), isChanged);
    assert.deepEqual(await readdir(at.out), []);
  });

  test('of a flat image is never one that smolvm merged', async () => {
    await using at = await place();
    const cache = await openCache(at.root);
    const merged = await publishArtifact(cache, 'app');
    const flat = { ...merged, record: { ...merged.record, layerDigest: digestOf('layer') } };
    await assert.rejects(copyOut(cache, flat, at.output, never), isChanged);
    await copyOut(cache, merged, at.output, never);
  });

  test('does not get its name when it is not whole', async () => {
    await using at = await place();
    const { path: artifact } = await publishArtifact(await openCache(at.root), 'app');
    let looked = false;
    // The clock is read between the look-up's checks and the copying: somebody cuts the file just then.
    const cache = await Cache.open(at.root, {
      now: () => {
        if (looked) truncateSync(artifact, 100);
        looked = true;
        return new Date();
      },
    });
    const found = await cache.lookup('smolmachine', key);
    assert.ok(found.state === 'hit');
    await assert.rejects(copyOut(cache, found.entry, at.output, never), isChanged);
    assert.deepEqual(await readdir(at.out), []);
  });

  test('never replaces anything', async () => {
    await using at = await place();
    const cache = await openCache(at.root);
    const entries = [await publishArtifact(cache, 'app'), await publishLayout(cache, 'app')];
    const exists = (error: unknown) => error instanceof OutputExists && error.fields.path === at.output;
    for (const entry of entries) {
      await writeFile(at.output, 'mine');
      await assert.rejects(copyOut(cache, entry, at.output, never), exists);
      assert.equal(await readFile(at.output, 'utf8'), 'mine');
      await rm(at.output);
      await symlink('nowhere', at.output);
      await assert.rejects(copyOut(cache, entry, at.output, never), exists);
      assert.equal(await readlink(at.output), 'nowhere');
      await rm(at.output);
      await mkdir(join(at.output, 'full'), { recursive: true });
      await assert.rejects(copyOut(cache, entry, at.output, never), exists);
      assert.deepEqual(await readdir(at.out), ['result']);
      await rm(at.output, { recursive: true });
    }
  });

  test('onto a file system that is full or read-only is a failure of the output', async () => {
    await using at = await place();
    const cache = await openCache(at.root);
    const layout = await publishLayout(cache, 'app', Buffer.alloc(1_000_000, 'x'));
    for (const [options, code] of [
      ['size=64k', 'ENOSPC'],
      ['ro', 'EROFS'],
    ] as const) {
      await using mount = await mounted(options);
      await assert.rejects(
        copyOut(cache, layout, join(mount.path, 'result'), never),
        (error) => error instanceof OutputUnwritable && error.fields.code === code,
      );
      assert.deepEqual(await readdir(mount.path), []);
    }
  });

  test('that is interrupted leaves nothing, and tells the reason', async () => {
    await using at = await place();
    const cache = await openCache(at.root);
    const entry = await publishLayout(cache, 'app', Buffer.alloc(64_000_000, 'x'));
    const interruption = new AbortController();
    const copying = copyOut(cache, entry, at.output, interruption.signal);
    const reason = new Error('enough');
    const seen = until(async () => (await readdir(at.out)).length > 0).then(() => interruption.abort(reason));
    await assert.rejects(copying, reason);
    await seen;
    assert.deepEqual(await readdir(at.out), []);
    assert.deepEqual(await readdir(cache.tree.locksRoot), []);
  });
});

describe('naming a file where there are no hard links', () => {
  /** What link(2) answers on FAT. */
  const refused = async () => {
    throw Object.assign(new Error('EPERM'), { code: 'EPERM' });
  };

  test('gives it its name', async () => {
    await using at = await place();
    const draft = join(at.out, 'draft');
    await writeFile(draft, 'bytes');
    await nameFile(draft, at.output, refused);
    assert.equal(await readFile(at.output, 'utf8'), 'bytes');
    assert.deepEqual(await readdir(at.out), ['result']);
  });

  test('never replaces anything, and leaves no empty file when it fails', async () => {
    await using at = await place();
    const draft = join(at.out, 'draft');
    await writeFile(draft, 'bytes');
    await writeFile(at.output, 'mine');
    await assert.rejects(nameFile(draft, at.output, refused), OutputExists);
    assert.equal(await readFile(at.output, 'utf8'), 'mine');
    await rm(at.output);
    await assert.rejects(nameFile(join(at.out, 'none'), at.output, refused), OutputUnwritable);
    assert.deepEqual(await readdir(at.out), ['draft']);
  });
});
