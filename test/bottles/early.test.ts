import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { House } from './house.ts';

/** Processes that have this house's home in their environment. */
async function processesOf(house: House): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
      return environment.split('\0').includes(`HOME=${house.home}`) ? [pid] : [];
    }),
  );
  return found.flat();
}

test('a start that fails before there is a bottle leaves no supervisor', async () => {
  await using house = await House.build();
  for (const args of [
    ['start', '--yes', '--no-such-flag'],
    ['start', '--yes', 'no-such-agent'],
    ['start', '--yes', '--image=no.such/image:1', '--no-workspace', '--', 'true'],
  ]) {
    const { code } = await house.bottle(args);
    assert.notEqual(code, 0);
    assert.deepEqual(await processesOf(house), [], args.join(' '));
  }
});

test('compiled code is kept for this user alone, and not where others could put theirs', async () => {
  await using house = await House.build();
  const cache = join(house.path, 'cache/claude-bottle/compiled');
  await house.bottle(['list']);
  assert.notEqual((await readdir(cache)).length, 0);

  await using open = await House.build();
  const shared = join(open.path, 'cache/claude-bottle/compiled');
  await mkdir(shared, { recursive: true });
  await chmod(shared, 0o777);
  const { code } = await open.bottle(['list']);
  assert.equal(code, 0);
  assert.deepEqual(await readdir(shared), []);
});
