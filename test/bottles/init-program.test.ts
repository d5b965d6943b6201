import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { InitMissing } from '../../src/bottles/errors.ts';
import { initProgram } from '../../src/bottles/init-program.ts';
import { run } from '../../src/process/run.ts';

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'init-program-'));
});
after(() => rm(root, { recursive: true, force: true }));

test('a checkout has the program that script/build-guest --here builds', async () => {
  const script = new URL('../../script/build-guest', import.meta.url).pathname;
  const { code, stderr } = await run(script, ['--here'], { deadlineMs: 120_000 });
  assert.equal(code, 0, stderr);
  const { stdout } = await run(await initProgram(), ['--version']);
  assert.match(stdout, /^bottle-init \d+\n$/);
});

test('one that is not there is told with its path, and with what brings it', async () => {
  await assert.rejects(initProgram({ root, arch: 'arm64' }), (error) => {
    assert.ok(error instanceof InitMissing);
    assert.deepEqual(error.fields, {
      path: join(root, 'guest/dist/bottle-init-arm64'),
      fix: 'npm install --global claude-bottle',
    });
    return true;
  });
  await mkdir(join(root, 'script'));
  await writeFile(join(root, 'script/build-guest'), '');
  await assert.rejects(initProgram({ root }), (error) => {
    assert.ok(error instanceof InitMissing);
    assert.equal(error.fields.fix, 'script/build-guest --here');
    return true;
  });
});

test('one that cannot be executed is none', async () => {
  const path = join(root, 'guest/dist/bottle-init-amd64');
  await mkdir(join(root, 'guest/dist'), { recursive: true });
  await writeFile(path, 'x', { mode: 0o644 });
  await assert.rejects(initProgram({ root, arch: 'x64' }), InitMissing);
  await chmod(path, 0o755);
  assert.equal(await initProgram({ root, arch: 'x64' }), path);
});
