import assert from 'node:assert/strict';
import { chmod, chown, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { Cache } from '../../src/smolmachine/cache.ts';
import { cacheRoot } from '../../src/smolmachine/cache-tree.ts';
import { keyOf } from '../../src/smolmachine/entry.ts';
import { CacheUnusable } from '../../src/smolmachine/errors.ts';
import { temporary } from '../process/child.ts';
import { digestOf, openCache, publishArtifact } from './entries.ts';
import { mounted } from './mounted.ts';

const key = keyOf(digestOf('app'));

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

  test('that the system will not make is refused, whatever it says', async () => {
    await using directory = await temporary();
    const long = join(directory.path, 'x'.repeat(300));
    for (const path of ['/proc/x/claude-bottle', '/proc/self/claude-bottle', long]) {
      await assert.rejects(
        Cache.open(path),
        (error) => error instanceof CacheUnusable && error.fields.reason === 'io-error',
        path,
      );
    }
    const dangling = join(directory.path, 'link');
    await symlink(join(directory.path, 'nowhere', 'x'), dangling);
    await assert.rejects(Cache.open(dangling), CacheUnusable);
  });

  const notOurs = (error: unknown) => error instanceof CacheUnusable && error.fields.reason === 'not-yours';

  test('that belongs to another user is refused, and so is one with a part that does', async () => {
    for (const part of ['.', 'tmp', 'smolmachines', 'locks']) {
      await using directory = await temporary();
      await openCache(directory.path);
      await chown(join(directory.path, part), 65_534, 65_534);
      await assert.rejects(Cache.open(directory.path), notOurs, part);
    }
  });

  test('in which others may replace things is refused; the sticky bit forbids them that', async () => {
    for (const mode of [0o770, 0o707, 0o777]) {
      await using directory = await temporary();
      await chmod(directory.path, mode);
      await assert.rejects(Cache.open(directory.path), notOurs, mode.toString(8));
      await chmod(directory.path, mode | 0o1000);
      await Cache.open(directory.path);
    }
  });

  test('that others may read or enter is used', async () => {
    await using directory = await temporary();
    await chmod(directory.path, 0o755);
    await Cache.open(directory.path);
  });
});
