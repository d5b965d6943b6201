import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { machineName } from '../../../src/backends/smolmachines/names.ts';
import { smolmachinesBackend } from '../../../src/backends/smolmachines/backend.ts';
import { run } from '../../../src/process/run.ts';
import { type Capability, versionCan } from '../../../src/smolvm/capabilities.ts';
import { findSmolvm } from '../../../src/smolvm/find.ts';
import { readMachine, readMachines } from '../../../src/smolvm/machine.ts';
import { parseVersion } from '../../../src/smolvm/version.ts';
import { machinesBelow } from '../../../src/smolvm/vm-processes.ts';
import { double, type Ran, smolvm } from '../../smolvm/double.ts';
import { type Made, mebi } from '../stage.ts';
import { Spy } from './spy.ts';
import { type MachineStage, openStage } from './stage.ts';

let spy: Spy;
let stage: MachineStage;
/** One that runs all the time, for its spec and for whoever needs to be left alone. */
let made: Made;

/** smolvm as a user types it, with nothing of ours around it. */
const raw = (args: readonly string[], env: Record<string, string> = {}): Promise<Ran> =>
  smolvm(args, { SMOLVM_DATA_DIR: stage.home.path, ...env });
const newSlug = () => `test-${randomBytes(4).toString('hex')}`;

const held = new AsyncDisposableStack();
before(async () => {
  spy = held.use(await Spy.open());
  stage = held.use(await openStage(spy.program));
  made = held.use(await stage.run());
});
after(() => held.disposeAsync());

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

  test('CRC: create looks at no sum, and takes a damaged one unless another of that sum is unpacked', async () => {
    const image = await rewritten(
      'damaged',
      (text) => text.replace(/"created": ?"2/, (was) => `${was.slice(0, -1)}3`),
      'is old',
    );
    assert.notDeepEqual(await readFile(image), await readFile(made.spec.image));
    const create = ['machine', 'create', '--name', 'bare-crc', '--from', image];
    const other = await raw(create);
    assert.equal(other.code, 1);
    assert.match(other.stderr, /shared pack checksum collision at .*: artifact SHA-256 differs/);
    const bare = await raw(create, { SMOLVM_DISABLE_SHARED_EXTRACT: '1' });
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

  test('resources: 4 processors and 8192 MiB are taken for nothing said, and the artifact’s come instead', async () => {
    const given = async (name: string) => {
      const { stdout } = await raw(['machine', 'status', '--name', name, '--json']);
      const { cpus, memory_mib: mib } = JSON.parse(stdout) as Record<string, unknown>;
      return [cpus, mib];
    };
    const image = await rewritten(
      'small',
      (text) => text.replace(/"cpus": ?\d+/, '"cpus": 1').replace(/"mem": ?\d+/, '"mem": 512'),
      'holds',
    );
    const asked = ['--cpus', '4', '--mem', '8192'];
    const bare = await raw(['machine', 'create', '--name', 'bare-size', '--from', image, ...asked]);
    assert.equal(bare.code, 0, bare.stderr);
    assert.deepEqual(await given('bare-size'), [1, 512]);
    await stage.machines.delete('bare-size');
    const resources = { ...made.spec.resources, cpus: 4, memoryBytes: 8192 * mebi };
    await using large = await stage.make({ resources });
    assert.deepEqual(await given(machineName(large.spec.slug)), [4, 8192]);
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

describe('a creation', { timeout: 300_000 }, () => {
  const vms = () => join(stage.home.path, '.cache/smolvm/vms');
  const directories = async () => (await readdir(vms())).filter((name) => /^[0-9a-f]{16}$/.test(name)).sort();
  /** Another machine of the same artifact has nothing to unpack, else, and no time to be killed in. */
  const slowly = (work: () => Promise<void>) => withEnv('SMOLVM_DISABLE_SHARED_EXTRACT', '1', work);
  const bareCreate = (name: string, signal?: AbortSignal) =>
    run(double, ['machine', 'create', '--name', name, '--from', made.spec.image], {
      env: { SMOLVM_DATA_DIR: stage.home.path },
      ...(signal === undefined ? {} : { signal }),
    });
  const isListed = async (name: string) => (await stage.machines.list()).some((each) => each.name === name);

  test('that is killed leaves a directory that no list tells of', async () => {
    const before = await directories();
    const added = async () => (await directories()).filter((name) => !before.includes(name));
    await slowly(async () => {
      const bare = new AbortController();
      const killed = bareCreate('bare-half', bare.signal);
      killed.catch(() => undefined);
      while ((await added()).length === 0) await sleep(5);
      bare.abort(new Error('enough'));
      await assert.rejects(killed, /enough/);
      const [left] = await added();
      assert.ok(left !== undefined && !(await isListed('bare-half')));
      await rm(join(vms(), left), { recursive: true });

      const slug = newSlug();
      const interrupt = new AbortController();
      const making = stage.backend.create({ ...made.spec, slug }, interrupt.signal);
      making.catch(() => undefined);
      while ((await added()).length === 0) await sleep(5);
      interrupt.abort(new Error('enough'));
      await assert.rejects(making, /enough/);
      assert.deepEqual(await added(), []);
      await leftNothing(slug);
    });
  });

  test('that nobody waits for any more goes on, and is ended with what it was about to make', async () => {
    const before = await directories();
    await slowly(async () => {
      const going = bareCreate('bare-on');
      while ((await directories()).length === before.length) await sleep(5);
      await stage.machines.delete('bare-on');
      assert.equal((await going).code, 137);
      assert.ok(!(await isListed('bare-on')));
      assert.deepEqual(await directories(), before);
    });
  });

  test('whose bottle is removed before any list has it is ended too', async () => {
    const before = await directories();
    await slowly(async () => {
      const slug = newSlug();
      const going = bareCreate(machineName(slug));
      while ((await directories()).length === before.length) await sleep(5);
      await stage.backend.bottle(slug).remove();
      assert.equal((await going).code, 137);
      assert.deepEqual(await directories(), before);
    });
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
