import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { openTerminal } from '../process/tmux.ts';
import { buildImage, House, image } from './house.ts';

before(buildImage);

/** A house whose image tells that it is built. */
async function withDockerfile(): Promise<House> {
  const house = await House.build();
  await house.write('Dockerfile', `FROM ${image}\nRUN echo building ${Date.now()}\n`);
  return house;
}

const start = ['start', '--yes', '--verbose', '--bottle=dev', '--', 'true'];

test('a variable that is missing, or that nobody can be asked for, is told before anything is built', async () => {
  await using house = await withDockerfile();
  await house.define('bottles', 'dev', '---\nenv:\n  TOKEN: ${NO_SUCH_VARIABLE}\n---\n');
  const missing = await house.bottle(start);
  assert.equal(missing.code, 3, missing.stderr);
  assert.match(missing.stderr, /NO_SUCH_VARIABLE/);
  assert.doesNotMatch(missing.stderr, /building/);
  await house.define('bottles', 'dev', '---\nenv:\n  TOKEN: "?the token"\n---\n');
  const unasked = await house.bottle(start);
  assert.equal(unasked.code, 2, unasked.stderr);
  assert.match(unasked.stderr, /no terminal to ask on: the token/);
  assert.doesNotMatch(unasked.stderr, /building/);
  assert.deepEqual(await house.containers(), []);
});

test('on a terminal a variable is asked for after the yes and before the build, and its value is not shown', async () => {
  await using house = await withDockerfile();
  await house.define('bottles', 'dev', '---\nenv:\n  TOKEN: "?the token"\n---\n');
  const args = ['start', '--bottle=dev', '--', 'bash', '-c', 'echo "${#TOKEN} letters"'];
  await using terminal = await openTerminal(`${house.line(args)}; echo "code $?"`);
  await terminal.shows(/start\?/);
  await terminal.type('y', 'Enter');
  const [before] = await terminal.shows(/[^]*the token/);
  assert.doesNotMatch(before, /the image/);
  await terminal.type('hunter2', 'Enter');
  await terminal.shows(/built the image/);
  const [all] = await terminal.shows(/[^]*7 letters[^]*code 0/);
  assert.doesNotMatch(all, /hunter2/);
});
