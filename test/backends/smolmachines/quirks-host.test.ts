import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { labelsOf } from '../../../src/backends/labels.ts';
import { machineName } from '../../../src/backends/smolmachines/names.ts';
import { currentOwner } from '../../../src/process/owner.ts';
import { run } from '../../../src/process/run.ts';
import { machineHome, placeOfMachines } from '../../../src/smolvm/machine-home.ts';
import { House } from '../../bottles/house.ts';
import { double, type Ran, smolvm } from '../../smolvm/double.ts';
import { type Made, said } from '../stage.ts';
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

const held = new AsyncDisposableStack();
before(async () => {
  spy = held.use(await Spy.open());
  stage = held.use(await openStage(spy.program));
  made = held.use(await stage.run({ env: { PUBLIC: 'public-3a9' } }));
});
after(() => held.disposeAsync());

describe('a directory of the host', { timeout: 300_000 }, () => {
  test('-v: is there, to be read or to be written, and shows what becomes of it', async () => {
    const [shared, sealed] = ['shared', 'sealed'].map((name) => join(dirname(stage.home.path), name));
    assert.ok(shared !== undefined && sealed !== undefined);
    for (const path of [shared, sealed]) await mkdir(path);
    await writeFile(join(shared, 'old'), 'outside\n');
    await writeFile(join(sealed, 'program'), '#!/bin/sh\necho ran\n');
    await chmod(join(sealed, 'program'), 0o755);
    await using lent = await stage.make({
      mounts: [
        { source: shared, target: '/mnt/shared', readOnly: false },
        { source: sealed, target: '/srv/a b/sealed', readOnly: true },
      ],
    });
    const program = '"/srv/a b/sealed/program"';
    const script = `cat /mnt/shared/old; rm /mnt/shared/old; echo inside >/mnt/shared/new; ${program}`;
    assert.equal(await said(lent.bottle, script, 'root'), 'outside\nran');
    assert.deepEqual(await readdir(shared), ['new']);
    assert.equal(await readFile(join(shared, 'new'), 'utf8'), 'inside\n');
    for (const attempt of [`echo more >>${program}`, `rm ${program}`, 'touch "/srv/a b/sealed/new"']) {
      const { code, stderr } = await lent.bottle.exec(['sh', '-c', attempt], { as: 'root' });
      assert.notEqual(code, 0, attempt);
      assert.match(stderr, /Read-only file system/);
    }
    await writeFile(join(sealed, 'later'), 'still read\n');
    assert.equal(await said(lent.bottle, 'cat "/srv/a b/sealed/later"', 'root'), 'still read');
    await lent.bottle.stop(0);
    await lent.bottle.remove();
    assert.deepEqual((await readdir(sealed)).sort(), ['later', 'program']);
    assert.deepEqual(await readdir(shared), ['new']);
  });

  test('-v: takes no file', async () => {
    const source = join(dirname(stage.home.path), 'file');
    await writeFile(source, '');
    const bare = ['machine', 'create', '--name', 'bare-file', '--from', made.spec.image];
    const { code, stderr } = await raw([...bare, '-v', `${source}:/file`]);
    assert.equal(code, 1);
    assert.match(stderr, /must be a directory/);
    const slug = `test-${randomBytes(4).toString('hex')}`;
    await assert.rejects(stage.make({ slug, mounts: [{ source, target: '/file', readOnly: true }] }), {
      name: 'MountUnfit',
      fields: { source },
    });
    assert.deepEqual(await spy.of('create', machineName(slug)), []);
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

  const skip = process.geteuid?.() === 0 ? false : 'only root’s machines run as another user';
  test(
    'root: a machine runs as another user, and is never ready where that one cannot walk',
    { skip },
    async () => {
      const closed = join(dirname(stage.home.path), 'closed');
      await mkdir(closed, { mode: 0o700 });
      const moved = { SMOLVM_DATA_DIR: join(closed, 'h') };
      const named = ['--name', 'bare-walk'];
      assert.equal((await raw(['machine', 'create', ...named, '--from', made.spec.image], moved)).code, 0);
      assert.match((await raw(['machine', 'start', ...named], moved)).stderr, /did not become ready/);
      await raw(['machine', 'delete', ...named, '-f'], moved);
      await assert.rejects(
        machineHome({ CLAUDE_BOTTLE_SMOLVM_HOME: join(closed, 'ours') }, '/nowhere', 0),
        (error: Error & { fields?: { reason: string; barrier?: string } }) => {
          assert.deepEqual([error.fields?.reason, error.fields?.barrier], ['not-walkable', closed]);
          return true;
        },
      );
    },
  );
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
