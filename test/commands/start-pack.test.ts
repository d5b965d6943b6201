import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { machinesBelow } from '../../src/smolvm/vm-processes.ts';
import { run } from '../../src/process/run.ts';
import { House } from '../bottles/house.ts';
import { double } from '../smolvm/double.ts';

const init = fileURLToPath(new URL('../../guest/dist/bottle-init-amd64', import.meta.url));
/** One static program and nothing else, so that it is packed in a moment. */
const image = 'claude-bottle-test:tiny';

before(async () => {
  const context = await mkdtemp(join(tmpdir(), 'cb-'));
  await copyFile(init, join(context, 'prog'));
  await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nCOPY prog /prog\n');
  const { code, stderr } = await run('docker', ['build', '--quiet', `--tag=${image}`, context], {
    env: { DOCKER_BUILDKIT: '0' },
  });
  await rm(context, { recursive: true });
  assert.equal(code, 0, stderr);
});
const homes: string[] = [];
after(() => Promise.all(homes.map((home) => rm(home, { recursive: true, force: true }))));

/** A house whose bottles are machines of the double's, and where its cache is. */
async function machined(knobs: Record<string, string>): Promise<{ house: House; cache: string }> {
  const house = await House.build();
  const home = await mkdtemp('/var/tmp/cb-');
  homes.push(home);
  Object.assign(house.env, {
    CLAUDE_BOTTLE_BACKEND: 'smolmachines',
    CLAUDE_BOTTLE_SMOLVM: double,
    CLAUDE_BOTTLE_SMOLVM_HOME: home,
    CLAUDE_BOTTLE_KVM: '/dev/null',
    ...knobs,
  });
  return { house, cache: join(house.path, 'cache/claude-bottle') };
}

const packing = ['start', '--yes', '--no-workspace', `--image=${image}`, '--', '/prog', '--version'];

test('a start that is interrupted while it packs leaves nothing', async () => {
  const { house, cache } = await machined({ FAKE_SMOLVM_FAIL: 'hang' });
  await using _house = house;
  const child = house.spawn(packing);
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (said += text));
  const ended = once(child, 'close') as Promise<[number | null]>;
  const scratch = join(cache, 'tmp');
  // smolvm's own configuration is written right before it is called.
  for (let tries = 0; ; tries += 1) {
    assert.ok(tries < 1200 && child.exitCode === null, said);
    const files = await readdir(scratch, { recursive: true }).catch(() => []);
    if (files.some((name) => name.endsWith('smolvm.toml'))) break;
    await sleep(50);
  }
  child.kill('SIGINT');
  const [code] = await ended;
  assert.equal(code, 130, said);
  assert.match(said, /✗ packing with smolvm/);
  assert.deepEqual(await readdir(scratch), []);
  assert.deepEqual(await readdir(join(cache, 'smolmachines')), []);
  assert.deepEqual(await readdir(join(cache, 'locks')), []);
  assert.deepEqual(await machinesBelow(house.path), []);
  assert.deepEqual(await readdir(join(house.path, 'state/claude-bottle/bottles')), []);
  assert.deepEqual(await readdir(join(house.path, 'run/claude-bottle')), []);
});

test('a start whose image cannot be packed says why, and makes no bottle', async () => {
  const { house, cache } = await machined({ FAKE_SMOLVM_FAIL: 'blob' });
  await using _house = house;
  const { code, stderr } = await house.bottle(packing);
  assert.equal(code, 4, stderr);
  assert.match(stderr, /error: smolvm 1\.9\.3 could not pack the image: a layer could not be fetched/);
  assert.deepEqual(await readdir(join(cache, 'smolmachines')), []);
  assert.deepEqual(await house.list('--all'), []);
});
