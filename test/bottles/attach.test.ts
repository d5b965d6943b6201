import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { letGo } from '../../src/backends/backend.ts';
import { openTerminal } from '../process/tmux.ts';
import { buildImage, House, image } from './house.ts';

before(buildImage);

/** Says what it reads, for as long as it lives. */
const echoes = ['--', 'bash', '-c', 'echo rea""dy; while read word; do echo "got $word"; done; sleep 600'];
const keys = Array.from({ length: letGo.times }, () => letGo.key.replace('Ctrl-', 'C-'));

async function background(house: House): Promise<string> {
  const started = await house.start(['--detach', ...echoes]);
  assert.equal(started.code, 0, started.stderr);
  return started.stdout.trim();
}

async function runs(house: House, slug: string): Promise<void> {
  const bottles = await house.list();
  assert.deepEqual(
    bottles.map((bottle) => [bottle['slug'], bottle['status']]),
    [[slug, 'running']],
  );
}

test('the keys that help names let go of a bottle, which goes on', async () => {
  await using house = await House.build();
  const help = (await house.bottle(['attach', '--help'])).stdout;
  assert.match(help, /Ctrl-\^ pressed 8 times lets go of it/);
  const slug = await background(house);
  await using terminal = await openTerminal(`${house.line(['attach', slug])}; echo "code $?"`);
  await terminal.type('one', 'Enter');
  await terminal.shows(/^got one/m);
  // One less is the agent's.
  await terminal.type(...keys.slice(1), 'two', 'Enter');
  await terminal.shows(/^got .*two/m);
  await terminal.type(...keys);
  await terminal.shows(/goes on; claude-bottle attach[^]*code 0/);
  await runs(house, slug);
});

test('the same keys let go of the bottle that start is attached to', async () => {
  await using house = await House.build();
  const line = house.line(['start', '--yes', `--image=${image}`, ...echoes]);
  await using terminal = await openTerminal(`${line}; echo "code $?"`);
  await terminal.shows(/^ready/m);
  await terminal.type(...keys);
  const [, slug = ''] = await terminal.shows(/^(agent-\w{5}) goes on; claude-bottle attach[^]*code 0/m);
  await runs(house, slug);
});

test('two terminals are attached to one bottle, and one that is closed leaves it and the other', async () => {
  await using house = await House.build();
  const slug = await background(house);
  await using first = await openTerminal(house.line(['attach', slug]));
  await first.type('one', 'Enter');
  await first.shows(/^got one/m);
  {
    await using second = await openTerminal(house.line(['attach', slug]));
    await second.type('two', 'Enter');
    await second.shows(/^got two/m);
    await first.shows(/^got two/m);
  }
  await first.type('three', 'Enter');
  await first.shows(/^got three/m);
  await runs(house, slug);
});

test('whoever is attached when the command ends hears what became of the bottle', async () => {
  await using house = await House.build();
  const started = await house.start(['--detach', '--', 'bash', '-c', 'echo rea""dy; read word; exit 3']);
  assert.equal(started.code, 0, started.stderr);
  const slug = started.stdout.trim();
  await using terminal = await openTerminal(`${house.line(['attach', slug])}; echo "code $?"`);
  await terminal.type('on', 'Enter');
  await terminal.shows(new RegExp(`^✓ ${slug} has ended[^]*code 3`, 'm'));
});
