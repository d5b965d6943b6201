import assert from 'node:assert/strict';
import { lutimes, mkdir, readdir, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { pruneCompiled } from '../../src/smolmachine/compiled-code.ts';
import { run } from '../../src/process/run.ts';
import { temporary } from '../process/child.ts';

const launcher = new URL('../../bin/launch.cjs', import.meta.url).pathname;
const now = new Date('2030-01-31');

async function put(root: string, path: string, day: string): Promise<void> {
  const whole = join(root, path);
  await mkdir(dirname(whole), { recursive: true });
  await writeFile(whole, '12345');
  await utimes(whole, new Date(day), new Date(day));
}

async function filled() {
  const directory = await temporary();
  const root = join(directory.path, 'compiled');
  await put(root, '2.0.0/node-1/new', '2030-01-30');
  await put(root, '2.0.0/node-1/old', '2029-12-01');
  await put(root, '2.0.0/node-0/new', '2030-01-30');
  await put(root, '1.0.0/node-1/new', '2030-01-30');
  await put(root, '1.0.0/node-0/old', '2029-12-01');
  await put(directory.path, 'outside/old', '2029-12-01');
  const link = join(root, '2.0.0/node-1/link');
  await symlink(join(directory.path, 'outside'), link);
  await lutimes(link, now, now);
  const left = async () =>
    (await readdir(root, { recursive: true, withFileTypes: true }))
      .filter((one) => !one.isDirectory() || one.name === 'node-0')
      .map((one) => join(one.parentPath, one.name).slice(root.length + 1))
      .sort();
  return {
    root,
    left,
    own: join(root, '2.0.0/node-1'),
    outside: join(directory.path, 'outside'),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

test('old compiled code goes by itself, with the directories that it leaves empty', async () => {
  await using at = await filled();
  assert.equal(await pruneCompiled(at.root, { now, own: at.own }), 10);
  assert.deepEqual(await at.left(), [
    '1.0.0/node-1/new',
    '2.0.0/node-0',
    '2.0.0/node-0/new',
    '2.0.0/node-1/link',
    '2.0.0/node-1/new',
  ]);
});

test('pruning takes that of all other versions too, follows no link, and only counts when told to', async () => {
  await using at = await filled();
  const options = { now, own: at.own, others: true };
  const before = await at.left();
  assert.equal(await pruneCompiled(at.root, { ...options, dryRun: true }), 20);
  assert.deepEqual(await at.left(), before);
  assert.equal(await pruneCompiled(at.root, options), 20);
  assert.deepEqual(await at.left(), ['2.0.0/node-1/link', '2.0.0/node-1/new']);
  assert.deepEqual(await readdir(at.outside), ['old']);
  assert.equal(await pruneCompiled(join(at.root, 'not-there'), options), 0);
});

test('cache prune drops what another version compiled, and keeps its own', async () => {
  await using directory = await temporary();
  const root = join(directory.path, 'claude-bottle/compiled');
  const env = { XDG_CACHE_HOME: directory.path, NODE_COMPILE_CACHE: undefined };
  const command = (...args: string[]) => run(process.execPath, [launcher, ...args], { env });
  assert.equal((await command('cache', 'list')).code, 0);
  const [own = ''] = await readdir(root);
  await put(root, '0.0.0-gone/node/module', new Date().toISOString());
  assert.equal((await command('cache', 'list')).code, 0);
  assert.equal((await readdir(root)).length, 2);
  const pruned = await command('cache', 'prune', '--older-than=30d');
  assert.equal(pruned.code, 0, pruned.stderr);
  assert.match(pruned.stderr, /compiled code of other versions/);
  assert.deepEqual(await readdir(root), [own]);
  assert.notEqual((await readdir(join(root, own))).length, 0);
});
