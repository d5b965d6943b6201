import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { buildImage, House, image } from './house.ts';

before(buildImage);

const many = 20;
const commit =
  'git -c user.name=a -c user.email=a@b commit -q --allow-empty -m "Work of $HOSTNAME $RANDOM$RANDOM"';

/** Every branch that came out, after a look at whether they are as many commits and the repository is whole. */
async function separateWork(house: House): Promise<readonly string[]> {
  const format = '--format=%(objectname) %(refname:short)';
  const lines = (await house.git('for-each-ref', format, 'refs/heads/bottle')).split('\n');
  assert.equal(lines.length, many);
  assert.equal(new Set(lines.map((line) => line.split(' ')[0])).size, many);
  await house.git('fsck', '--strict');
  assert.equal(await house.git('status', '--porcelain'), '');
  assert.equal(await house.git('symbolic-ref', '--short', 'HEAD'), 'main');
  assert.deepEqual(await house.containers(), []);
  assert.deepEqual(await readdir(join(house.path, 'run/claude-bottle')), []);
  return lines.map((line) => line.split(' ')[1] ?? '');
}

test('twenty bottles in the background from one repository come out as twenty branches', async () => {
  await using house = await House.build();
  const args = ['--detach', '--', 'bash', '-c', `${commit}; echo ready; sleep 600`];
  const starts = await Promise.all(Array.from({ length: many }, () => house.start(args)));
  for (const { code, stderr } of starts) assert.equal(code, 0, stderr);
  const slugs = starts.map(({ stdout }) => stdout.trim()).sort();
  const listed = await house.list();
  assert.deepEqual(listed.map(({ slug }) => slug).sort(), slugs);
  // Whoever started first may have been silent for long enough to seem to wait.
  assert.ok(listed.every(({ status }) => status === 'running' || status === 'waiting'));
  for (const slug of slugs) {
    while (!(await house.bottle(['logs', slug])).stdout.includes('ready'));
  }
  const stopped = await house.bottle(['stop', '--all', '--grace=1s']);
  assert.equal(stopped.code, 0, stopped.stderr);
  assert.deepEqual(
    (await separateWork(house)).toSorted(),
    slugs.map((slug) => `bottle/${slug}`),
  );
  assert.deepEqual(await house.list(), []);
});

test('twenty at once that wait for one build come out as twenty branches', async () => {
  await using house = await House.build();
  await house.write('Dockerfile', `FROM ${image}\nRUN true\n`);
  await house.git('add', '.');
  await house.git('commit', '--quiet', '--message=Build');
  const args = ['start', '--yes', '--', 'bash', '-c', commit];
  const env = { CLAUDE_BOTTLE_IMAGE: 'claude-bottle-test:crowd' };
  const starts = await Promise.all(
    Array.from({ length: many }, () => house.bottle(args, { env, input: '' })),
  );
  for (const { code, stderr } of starts) assert.equal(code, 0, stderr);
  await separateWork(house);
});
