import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { labelsOf } from '../../../src/backends/labels.ts';
import { machineName } from '../../../src/backends/smolmachines/names.ts';
import { smolmachinesBackend } from '../../../src/backends/smolmachines/backend.ts';
import { currentOwner } from '../../../src/process/owner.ts';
import { run } from '../../../src/process/run.ts';
import { type Capability, versionCan } from '../../../src/smolvm/capabilities.ts';
import { findSmolvm } from '../../../src/smolvm/find.ts';
import { readMachine, readMachines } from '../../../src/smolvm/machine.ts';
import { machineHome, placeOfMachines } from '../../../src/smolvm/machine-home.ts';
import { parseVersion } from '../../../src/smolvm/version.ts';
import { machinesBelow } from '../../../src/smolvm/vm-processes.ts';
import { House } from '../../bottles/house.ts';
import { double, type Ran, smolvm } from '../../smolvm/double.ts';
import type { Made } from '../stage.ts';
import { Spy } from './spy.ts';
import { type MachineStage, openStage } from './stage.ts';

const canary = 'canary-9f27c1';
let spy: Spy;
let stage: MachineStage;
/** One that runs all the time, for its spec and for whoever needs to be left alone. */
let made: Made;

/** smolvm as a user types it, with nothing of ours around it. */
const raw = (args: readonly string[], env: Record<string, string> = {}): Promise<Ran> =>
  smolvm(args, { SMOLVM_DATA_DIR: stage.home.path, ...env });
const newSlug = () => `test-${randomBytes(4).toString('hex')}`;

before(async () => {
  spy = await Spy.open();
  stage = await openStage(spy.program);
  made = await stage.run({ env: { PUBLIC: 'public-3a9' } });
});
after(async () => {
  await made[Symbol.asyncDispose]();
  await stage[Symbol.asyncDispose]();
  await spy[Symbol.asyncDispose]();
});

async function withEnv(name: string, value: string, work: () => Promise<void>): Promise<void> {
  process.env[name] = value;
  try {
    await work();
  } finally {
    delete process.env[name];
  }
}

/** The artifact with another manifest, and a sum that holds, or the old one. */
async function rewritten(
  name: string,
  change: (manifest: string) => string,
  sum: 'holds' | 'is old',
): Promise<string> {
  const whole = await readFile(made.spec.image);
  const footer = Buffer.from(whole.subarray(-64));
  const assets = Number(footer.readBigUInt64LE(28));
  const manifest = Buffer.from(change(whole.toString('utf8', assets, whole.length - 64)));
  const body = Buffer.concat([whole.subarray(0, assets), manifest]);
  footer.writeBigUInt64LE(BigInt(manifest.length), 44);
  if (sum === 'holds') footer.writeUInt32LE(crc32(body), 52);
  const path = join(dirname(stage.home.path), name);
  await writeFile(path, Buffer.concat([body, footer]));
  return path;
}

/** Nothing of that bottle is there: no machine, no file, no process. */
async function leftNothing(slug: string): Promise<void> {
  const listed = await stage.machines.list();
  assert.ok(!listed.some(({ name }) => name === machineName(slug)));
  assert.deepEqual(await readdir(join(stage.home.path, 'claude-bottle-init')), [made.spec.slug]);
  const running = listed.flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
  const below = await machinesBelow(stage.home.path);
  assert.deepEqual(below.map(({ pid }) => pid).sort(), running.sort());
}

describe('an artifact', { timeout: 300_000 }, () => {
  test('network: one that asks for a network gets it, without --net', async () => {
    const image = await rewritten(
      'net',
      (text) => text.replace(/"network": ?false/, '"network": true'),
      'holds',
    );
    const bare = await raw(['machine', 'create', '--name', 'bare-net', '--from', image]);
    assert.equal(bare.code, 0, bare.stderr);
    assert.equal((await stage.machines.status('bare-net'))?.network, true);
    await stage.machines.delete('bare-net');
    const slug = newSlug();
    await assert.rejects(stage.make({ slug, image }), {
      name: 'MachineNetworked',
      fields: { name: machineName(slug), artifact: image },
    });
    assert.deepEqual(await spy.of('start', machineName(slug)), []);
    await leftNothing(slug);
  });

  test('CRC: create looks at no sum, and takes a damaged one', async () => {
    const image = await rewritten(
      'damaged',
      (text) => text.replace(/"created": ?"2/, (was) => `${was.slice(0, -1)}3`),
      'is old',
    );
    assert.notDeepEqual(await readFile(image), await readFile(made.spec.image));
    const bare = await raw(['machine', 'create', '--name', 'bare-crc', '--from', image]);
    assert.equal(bare.code, 0, bare.stderr);
    await stage.machines.delete('bare-crc');
    const slug = newSlug();
    await assert.rejects(stage.make({ slug, image }), (error: Error & { fields?: { reason: string } }) => {
      assert.deepEqual([error.name, error.fields?.reason], ['ArtifactDamaged', 'crc32']);
      return true;
    });
    assert.deepEqual(await spy.of('create', machineName(slug)), []);
    await leftNothing(slug);
  });
});

describe('a release', { timeout: 300_000 }, () => {
  test('sockets: before 1.8.0 they are not in the containers, and before 1.7.0 silently in nothing', async () => {
    for (const [version, able] of [
      ['0.8.0', false],
      ['1.7.0', false],
      ['1.7.7', false],
      ['1.8.0', false],
      ['1.8.1', true],
    ] as const) {
      assert.equal(versionCan(parseVersion(version), 'bottles' satisfies Capability), able, version);
    }
    const env = { ...process.env, CLAUDE_BOTTLE_SMOLVM: spy.program };
    for (const version of ['0.8.0', '1.7.0']) {
      await withEnv('FAKE_SMOLVM_VERSION', version, async () => {
        await assert.rejects(findSmolvm(env, { needs: 'bottles' }), { name: 'SmolvmTooOld' });
        const packer = await findSmolvm(env, { needs: 'pack' });
        const places = (slug: string) => ({ machine: join(dirname(stage.home.path), slug), run: '/nowhere' });
        const old = smolmachinesBackend({ smolvm: packer, home: stage.home, version: '1', places });
        const slug = newSlug();
        await assert.rejects(old.create({ ...made.spec, slug }), { name: 'SmolvmTooOld' });
        assert.deepEqual(await spy.of('create', machineName(slug)), []);
      });
    }
    await leftNothing('none');
  });

  test('JSON: ls and status have more keys in every release', async () => {
    const name = machineName(made.spec.slug);
    const { stdout } = await raw(['machine', 'status', '--name', name, '--json']);
    const later = {
      ...(JSON.parse(stdout) as object),
      branched_from: null,
      disks: [{ gb: 1 }],
      state: 'hibernating',
    };
    const { pid: _pid, ...rest } = (await stage.machines.status(name)) ?? assert.fail();
    const { pid: _later, ...read } = readMachine(JSON.stringify(later)) ?? assert.fail();
    assert.deepEqual(read, { ...rest, state: 'hibernating' });
    assert.equal(readMachines(JSON.stringify([later]))?.length, 1);
  });
});

describe('a place', { timeout: 300_000 }, () => {
  test('sockets: a path above 107 bytes is a machine that never becomes ready', async () => {
    const long = join(dirname(stage.home.path), 'x'.repeat(60));
    const moved = { SMOLVM_DATA_DIR: long };
    assert.equal(
      (await raw(['machine', 'create', '--name', 'far', '--from', made.spec.image], moved)).code,
      0,
    );
    const { stderr } = await raw(['machine', 'start', '--name', 'far'], moved);
    assert.match(stderr, /did not become ready/);
    await raw(['machine', 'delete', '--name', 'far', '-f'], moved);
    const refused = machineHome({ CLAUDE_BOTTLE_SMOLVM_HOME: long }, '/nowhere', 0);
    await assert.rejects(
      refused,
      (error: Error & { fields?: { reason: string } }) => error.fields?.reason === 'too-long',
    );
    const { cache, limit } = placeOfMachines({ XDG_CACHE_HOME: long }, '/nowhere', 1000);
    assert.ok(
      Buffer.byteLength(cache) <= limit && limit + '/smolvm/vms/0123456789abcdef/agent.sock'.length < 108,
    );
  });
});

describe('a start', { timeout: 300_000 }, () => {
  test('137: one that the host kills while it boots works the next time', async () => {
    await withEnv('FAKE_SMOLVM_FAIL', 'start-137', async () => {
      const bare = 'bare-137';
      assert.equal((await raw(['machine', 'create', '--name', bare, '--from', made.spec.image])).code, 0);
      assert.notEqual((await raw(['machine', 'start', '--name', bare])).code, 0);
      await stage.machines.delete(bare);
      await using again = await stage.make();
      assert.equal((await again.bottle.exec(['true'])).code, 0);
      assert.equal((await spy.of('start', machineName(again.spec.slug))).length, 2);
    });
  });

  test('that is killed leaves a process that no record tells of, and delete does not end', async () => {
    await withEnv('FAKE_SMOLVM_BOOT_MS', '60000', async () => {
      const slug = newSlug();
      const interrupt = new AbortController();
      const making = stage.backend.create({ ...made.spec, slug }, interrupt.signal);
      making.catch(() => undefined);
      const vms = join(stage.home.path, '.cache/smolvm/vms');
      while ((await machinesBelow(vms)).length < 2) await sleep(20);
      interrupt.abort(new Error('enough'));
      await assert.rejects(making, /enough/);
      await leftNothing(slug);
    });
  });
});

describe('what others may see or lose', { timeout: 300_000 }, () => {
  test('-e: its values are in a command line and in a file, so none of them is secret', async () => {
    await using program = made.bottle.stream(['sh', '-c', 'echo "$TOKEN $PUBLIC"; sleep 7421'], {
      env: { TOKEN: canary },
      input: canary,
    });
    const output = program.stdout[Symbol.asyncIterator]();
    assert.equal(String((await output.next()).value), `${canary} public-3a9\n`);
    const told = async (word: string) => {
      const files = await run('grep', ['-rlF', word, stage.home.path], { deadlineMs: 60_000 });
      const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
      const argv = await Promise.all(
        pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')),
      );
      const calls = (await spy.calls()).filter(({ args }) => args.some((each) => each.includes(word)));
      const lines = argv.filter((line) => line.includes(word) && !line.startsWith('grep\0'));
      return [files.stdout !== '', lines.length > 0, calls.length > 0];
    };
    assert.deepEqual(await told('sleep 7421'), [false, true, true]);
    const [inFiles, , inCalls] = await told('public-3a9');
    assert.deepEqual([inFiles, inCalls], [true, true]);
    assert.deepEqual(await told(canary), [false, false, false]);
    // Of the bottle's own secret variables, which its command has.
    assert.deepEqual(await told('canary-7d1'), [false, false, false]);
  });

  test('names: a machine of the user’s own may be called like one of ours', async () => {
    const labels = labelsOf(
      { slug: 'dead-aaaaa', version: '1', owner: { ...(await currentOwner()), startTime: '1' } },
      { user: 'x', keepsHome: false },
    );
    const labelled = Object.entries(labels).flatMap(([key, value]) => ['--label', `${key}=${value}`]);
    const create = async (name: string, ...args: string[]) => {
      const { code, stderr } = await raw([
        'machine',
        'create',
        '--name',
        name,
        '--from',
        made.spec.image,
        ...args,
      ]);
      assert.equal(code, 0, stderr);
    };
    await create('claude-bottle-mine-x');
    await create('mine', ...labelled);
    await create('claude-bottle-dead-aaaaa', ...labelled);
    const found = await stage.backend.find();
    assert.deepEqual(found.map(({ slug }) => slug).sort(), ['dead-aaaaa', made.spec.slug].sort());
    await assert.rejects(stage.make({ slug: 'mine-x' }), { name: 'BottleExists' });

    await using house = await House.build();
    Object.assign(house.env, {
      CLAUDE_BOTTLE_BACKEND: 'smolmachines',
      CLAUDE_BOTTLE_SMOLVM: double,
      CLAUDE_BOTTLE_SMOLVM_HOME: dirname(stage.home.path),
    });
    const cleaned = await house.bottle(['cleanup', '--yes']);
    assert.equal(cleaned.code, 0, cleaned.stderr);
    assert.match(cleaned.stderr, /machine of dead-aaaaa, whose record is lost/);
    const left = (await stage.machines.list()).map(({ name }) => name).sort();
    assert.deepEqual(left, ['claude-bottle-mine-x', machineName(made.spec.slug), 'mine'].sort());
    assert.equal((await made.bottle.exec(['true'])).code, 0);
    for (const name of ['mine', 'claude-bottle-mine-x']) await stage.machines.delete(name);
  });
});
