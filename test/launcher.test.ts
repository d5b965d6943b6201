import assert from 'node:assert/strict';
import { chmod, cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from '../src/process/run.ts';

const bin = new URL('../bin/', import.meta.url).pathname;
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'launcher-'));
});
after(() => rm(folder, { recursive: true, force: true }));

test('an older Node gets one clear sentence and exit code 3', async () => {
  const pretend = `Object.defineProperty(process.versions, 'node', { value: '20.1.0' }); require(${JSON.stringify(join(bin, 'launch.cjs'))})`;
  const { code, stdout, stderr } = await run(process.execPath, ['-e', pretend]);
  assert.equal(code, 3);
  assert.equal(stdout, '');
  assert.match(stderr, /^claude-bottle needs Node\.js 24 or newer; .*\n$/);
});

test('without any Node the launcher says so', async () => {
  // A copy has no .tools beside it.
  await cp(bin, join(folder, 'alone', 'bin'), { recursive: true });
  const { code, stderr } = await run('/bin/sh', [join(folder, 'alone/bin/claude-bottle')], {
    env: { PATH: '/nonexistent' },
  });
  assert.equal(code, 3);
  assert.match(stderr, /needs Node\.js 24 or newer, and there is no node on the PATH/);
});

test('the launcher is found through a chain of links, and hands its arguments over as they are', async () => {
  await mkdir(join(folder, 'a/bin'), { recursive: true });
  await mkdir(join(folder, 'b'));
  await cp(join(bin, 'claude-bottle'), join(folder, 'a/bin/claude-bottle'));
  await writeFile(join(folder, 'a/bin/launch.cjs'), 'console.log(JSON.stringify(process.argv.slice(2)))');
  await chmod(join(folder, 'a/bin/claude-bottle'), 0o755);
  await symlink('../a/bin/claude-bottle', join(folder, 'b/relative'));
  await symlink(join(folder, 'b/relative'), join(folder, 'absolute'));
  const args = ['pack', '--image', 'a b', '', '*', '$(x)'];
  const { stdout } = await run(join(folder, 'absolute'), args, {
    env: { PATH: `${join(process.execPath, '..')}:/usr/bin:/bin` },
  });
  assert.deepEqual(JSON.parse(stdout), args);
});
