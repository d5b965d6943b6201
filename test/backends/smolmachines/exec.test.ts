import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { execCases, runOf } from '../cases/exec.ts';
import { type Made, onStage, said } from '../stage.ts';
import { openStage } from './stage.ts';

onStage('a further program in a machine', { open: openStage, timeout: 300_000 }, (stage) => {
  let made: Made;
  before(async () => {
    made = await runOf(stage());
  });
  after(async () => {
    await made[Symbol.asyncDispose]();
  });
  const told = async (slug: string) => JSON.stringify(await stage().machines.status(`claude-bottle-${slug}`));

  for (const [name, holds] of Object.entries(execCases)) {
    test(name, () => holds({ stage: stage(), made, long: 50_000_000, told }));
  }

  test('has no rights but the user’s, and root seven capabilities', async () => {
    const status = await said(made.bottle, 'cat /proc/self/status');
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.match(status, /^CapBnd:\t0000000000000000$/m);
    assert.match(await said(made.bottle, 'cat /proc/self/status', 'root'), /^CapBnd:\t00000000000000fb$/m);
  });
});
