import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../src/process/run.ts';
import { openCache } from '../smolmachine/entries.ts';
import { double, versions } from './double.ts';
import { MachineHouse } from './machine-house.ts';

const launcher = new URL('../../bin/launch.cjs', import.meta.url).pathname;

let house: MachineHouse;
/** Of the artifact. */
let sha256: string;
before(async () => {
  house = await MachineHouse.open();
  sha256 = createHash('sha256')
    .update(await readFile(house.artifact))
    .digest('hex');
  // Where a home of ours would be below `CLAUDE_BOTTLE_SMOLVM_HOME`.
  house.env['SMOLVM_DATA_DIR'] = join(house.directory, 'smolvm');
  await mkdir(join(house.directory, 'smolvm'), { mode: 0o755 });
});
after(async () => {
  await house[Symbol.asyncDispose]();
});

const vms = () => join(house.directory, 'smolvm/.cache/smolvm/vms');
const shared = () => join(vms(), '_shared');
const unpacked = async () =>
  (await readdir(shared()).catch(() => [])).filter((name) => /^[0-9a-f]{8}$/.test(name));
const prune = (args: readonly string[] = ['--all'], version = '1.9.3') =>
  house.run(['pack', 'prune', ...args], { FAKE_SMOLVM_VERSION: version });
const directoryOf = (name: string) =>
  join(vms(), createHash('sha256').update(name).digest('hex').slice(0, 16));
const create = async (name: string, env: Record<string, string> = {}) => {
  const { code, stderr } = await house.create(name, [], env);
  assert.equal(code, 0, stderr);
};
const remove = async (name: string) => {
  assert.equal((await house.run(['machine', 'delete', '-f', '--name', name])).code, 0);
};

describe('pack prune of the double', () => {
  beforeEach(async () => {
    await create('one');
  });
  afterEach(async () => {
    await remove('one');
    await rm(shared(), { recursive: true, force: true });
  });

  test('keeps what a machine was made from, for as long as the last of them is there', async () => {
    await create('two');
    const [crc = ''] = await unpacked();
    assert.equal(await readFile(join(directoryOf('two'), '.pack-shared'), 'utf8'), `${shared()}/${crc}\n`);
    assert.equal(await readFile(join(shared(), `${crc}.artifact-sha256`), 'utf8'), `${sha256}\n`);
    assert.equal((await stat(join(shared(), crc))).mode & 0o777, 0o700);
    const kept = {
      code: 0,
      stdout: '  retaining 1 artifact cache entry referenced by machines\nNo cached entries to remove.\n',
      stderr: '',
    };
    assert.deepEqual(await prune(), kept);
    await remove('two');
    assert.deepEqual(await prune(), kept);
    assert.deepEqual(await unpacked(), [crc]);

    await remove('one');
    assert.match((await prune([])).stdout, /^No cached entries to remove\.\n$/);
    const line = (did: string) =>
      `^ {2}${did} artifact cache ${sha256}: ${shared()}/${crc} \\(\\d+\\.\\d MB\\)\n`;
    const dry = await prune(['--all', '--dry-run']);
    assert.match(
      dry.stdout,
      new RegExp(`${line('would remove')}Would remove 1 cached entries \\(\\S+ MB\\)\n$`),
    );
    assert.deepEqual(await unpacked(), [crc]);
    const done = await prune(['--keep', '0']);
    assert.match(done.stdout, new RegExp(`${line('removed')}Removed 1 cached entries, freed \\S+ MB\n$`));
    assert.deepEqual(await readdir(shared()), []);
    await create('one');
  });

  test('removes nothing when the lease of one machine is not sound', async () => {
    await mkdir(join(shared(), '00000000'));
    const pointer = join(directoryOf('one'), '.pack-shared');
    const sound = await readFile(pointer, 'utf8');
    for (const [text, words] of [
      ['\n', /empty shared pack pointer: /],
      ['../../escape\n', /shared pack pointer is not absolute: /],
      [`${vms()}\n`, /shared pack pointer escapes the cache root: /],
      [`${shared()}/11111111\n`, /No such file or directory \(os error 2\)/],
    ] as const) {
      await writeFile(pointer, text);
      const { code, stdout, stderr } = await prune();
      assert.equal(code, 1);
      assert.equal(stdout, '');
      assert.match(stderr, /^Error: agent operation failed: prune shared artifact caches: /);
      assert.match(stderr, words);
      assert.equal((await unpacked()).length, 2);
    }
    await writeFile(pointer, sound);
    assert.match((await prune()).stdout, /^ {2}removed artifact cache shared:00000000: /m);
    assert.equal((await unpacked()).length, 1);
  });

  test('waits for a machine that is being made', async () => {
    const making = spawn('flock', ['-s', join(vms(), '.artifact-cache.lock'), 'sh', '-c', 'echo; cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(making.stdout, 'data');
    let isDone = false;
    const pruning = prune().then((ran) => ((isDone = true), ran));
    await sleep(1000);
    assert.equal(isDone, false);
    making.stdin.end();
    assert.equal((await pruning).code, 0);
  });

  test('keeps the five that were used last, or as many as it is told', async () => {
    for (let at = 0; at < 7; at += 1) {
      const path = join(shared(), `0000000${at}`);
      await mkdir(path);
      await utimes(path, at + 1, at + 1);
    }
    assert.match((await prune([])).stdout, /Removed 2 cached entries/);
    assert.match((await prune(['--keep', '4'])).stdout, /Removed 1 cached entries/);
    assert.deepEqual(
      (await unpacked()).filter((name) => name.startsWith('0000000')),
      ['00000003', '00000004', '00000005', '00000006'],
    );
  });

  test('of releases before 1.9.0 leaves alone what machines were made from', async () => {
    await remove('one');
    const packs = join(house.directory, 'smolvm/.cache/smolvm-pack');
    for (const version of versions.filter((each) => each !== '1.9.3')) {
      await mkdir(join(packs, '01234567/layers'), { recursive: true });
      await writeFile(join(packs, '01234567/layers/a'), 'abc');
      const root = ['0.8.0', '1.0.2'].includes(version) ? { XDG_CACHE_HOME: join(packs, '..') } : {};
      const { stdout } = await house.run(['pack', 'prune', '--all'], {
        FAKE_SMOLVM_VERSION: version,
        ...root,
      });
      assert.equal(stdout, 'Removed 1 cached entries, freed 3 B\n', version);
      assert.equal((await unpacked()).length, 1);
    }
    await create('one', { FAKE_SMOLVM_VERSION: '1.8.1' });
    assert.equal(existsSync(join(directoryOf('one'), '.pack-shared')), false);
    assert.ok(existsSync(join(directoryOf('one'), 'pack/.smolvm-extracted')));
  });

  test('takes no more than its arguments', async () => {
    assert.match((await prune(['--keep', 'x'])).stderr, /invalid value 'x' for '--keep <N>'/);
    assert.equal((await prune(['all'])).code, 2);
  });
});

describe('cache prune of claude-bottle', () => {
  test('has it remove what is left of machines, and nothing of one that is there', async () => {
    await create('one');
    await openCache(join(house.directory, 'cache/claude-bottle'));
    const env = {
      ...house.env,
      SMOLVM_DATA_DIR: undefined,
      CLAUDE_BOTTLE_SMOLVM: double,
      CLAUDE_BOTTLE_SMOLVM_HOME: house.directory,
      XDG_CACHE_HOME: join(house.directory, 'cache'),
    };
    const told = async () => {
      const result = await run(process.execPath, [launcher, 'cache', 'prune', '--all'], { env });
      assert.equal(result.code, 0, result.stderr);
      return result.stderr;
    };
    assert.doesNotMatch(await told(), /unpacked/);
    assert.equal((await unpacked()).length, 1);
    await remove('one');
    assert.match(await told(), /^removed 1 unpacked artifact that no machine uses: \d+(\.\d+)? MB$/m);
    assert.deepEqual(await unpacked(), []);
  });
});
