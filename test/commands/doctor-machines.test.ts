import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { checkBoot } from '../../src/commands/doctor-boot.ts';
import type { Check } from '../../src/commands/doctor-check.ts';
import { checkMachines } from '../../src/commands/doctor-machines.ts';
import type { World } from '../../src/commands/world.ts';
import { currentOwner } from '../../src/process/owner.ts';
import { Cache } from '../../src/smolmachine/cache.ts';
import { SmolvmMissing, VirtualisationMissing } from '../../src/smolvm/errors.ts';
import { hypervisorFramework } from '../../src/smolvm/virtualisation.ts';
import { openTerminal } from '../../src/terminal/terminal.ts';
import { publishArtifact } from '../smolmachine/entries.ts';
import { Recorder } from '../smolvm/recorder.ts';

const isRoot = process.geteuid?.() === 0;
let top: string;
let recorder: Recorder;
beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'cb-'));
  await chmod(top, 0o755);
  recorder = await Recorder.make();
});
afterEach(async () => {
  await recorder[Symbol.asyncDispose]();
  await rm(top, { recursive: true });
});

function world(env: Record<string, string> = {}): World {
  const environment = {
    PATH: process.env.PATH,
    HOME: join(top, 'home'),
    XDG_CACHE_HOME: join(top, 'cache'),
    CLAUDE_BOTTLE_SMOLVM_HOME: join(top, 'm'),
    CLAUDE_BOTTLE_KVM: join(top, 'kvm'),
    ...env,
  };
  return { environment, terminal: openTerminal({}), signal: new AbortController().signal };
}

async function everyCheck(version: string, env?: Record<string, string>): Promise<Check[]> {
  return await checkMachines(world(env), Promise.resolve(recorder.smolvm(version)));
}

async function check(name: string, version: string, env?: Record<string, string>): Promise<Check> {
  const found = (await everyCheck(version, env)).find((one) => one.name === name);
  return found ?? assert.fail(`nothing is said of ${name}`);
}

describe('doctor, of smolvm', () => {
  test('tells whether it makes bottles or only packs, and how fast', async () => {
    const able = await check('smolvm', '1.8.1');
    assert.deepEqual(able, {
      name: 'smolvm',
      status: 'ok',
      detail: `1.8.1 (${recorder.path}): packs and makes bottles`,
    });
    const packs = await check('smolvm', '1.8.0');
    assert.equal(packs.status, 'warning');
    assert.match(packs.detail, /: only packs; bottles need 1\.8\.1, and are containers without it$/);
    assert.equal(packs.hint, 'update smolvm to 1.8.1 or newer');
    assert.match(
      (await check('smolvm', '1.2.0')).detail,
      /containers without it; takes compressed layers only/,
    );
  });

  test('tells where it came from', async () => {
    const link = join(top, 'smolvm');
    await symlink(recorder.path, link);
    const found = { ...recorder.smolvm('1.9.3'), path: link };
    const [smolvm] = await checkMachines(world({ CLAUDE_BOTTLE_SMOLVM: link }), Promise.resolve(found));
    assert.ok(
      smolvm?.detail.startsWith(`1.9.3 (${link}, which is ${recorder.path}, as CLAUDE_BOTTLE_SMOLVM says)`),
      smolvm?.detail,
    );
  });

  test('keeps nobody from containers when there is none, and then says nothing of machines', async () => {
    const none = Promise.reject(new SmolvmMissing({ looked: 'smolvm', configured: false }));
    const checks = await checkMachines(world(), none);
    assert.deepEqual(
      checks.map(({ name, status }) => [name, status]),
      [
        ['smolvm', 'warning'],
        ['virtualisation', 'warning'],
      ],
    );
    for (const { detail } of checks)
      assert.match(detail, /; without it nothing is packed, and bottles are containers$/);
    const older = await everyCheck('1.8.0');
    assert.ok(!older.some(({ name }) => name.startsWith('machine')));
  });
});

describe('doctor, of virtualisation', () => {
  test('opens the device', async () => {
    assert.match((await check('virtualisation', '1.9.3')).detail, /^there is no .*\/kvm on this host/);
    await writeFile(join(top, 'kvm'), '');
    assert.deepEqual(await check('virtualisation', '1.9.3'), {
      name: 'virtualisation',
      status: 'ok',
      detail: join(top, 'kvm'),
    });
  });

  test('believes what a Mac says of its processor', async () => {
    const sysctl = async (said: string) => {
      await writeFile(join(top, 'sysctl'), `#!/bin/sh\n[ "$*" = '-n kern.hv_support' ] && echo ${said}\n`);
      await chmod(join(top, 'sysctl'), 0o755);
      return await hypervisorFramework({ PATH: `${top}:/usr/bin:/bin` });
    };
    assert.equal(await sysctl('1'), 'Hypervisor.framework');
    await assert.rejects(sysctl('0'), VirtualisationMissing);
  });
});

describe('doctor, of where machines are', () => {
  test('tells the path, what is left of it for sockets, and what root has to know', async () => {
    const home = await check('machines', '1.9.3');
    const path = join(top, 'm', 'smolvm');
    assert.ok(home.detail.startsWith(`${path} (`), home.detail);
    assert.ok(home.detail.includes(` ${path.length + 7} of 66 bytes`), home.detail);
    assert.equal(home.status, isRoot ? 'warning' : 'ok');
    if (isRoot) assert.match(home.hint ?? '', /ordinary user/);
    // Then its machines run as this user.
    assert.equal((await check('machines', '1.9.3', { SMOLVM_VM_UID_DROP: 'off' })).status, 'ok');
  });

  test('tells why it cannot be used', async () => {
    const long = await check('machines', '1.9.3', { CLAUDE_BOTTLE_SMOLVM_HOME: join(top, 'x'.repeat(60)) });
    assert.equal(long.status, 'warning');
    assert.match(
      long.detail,
      /sockets below it would be too long.* 66 are the most; without it bottles are containers/,
    );
    assert.match(long.hint ?? '', /CLAUDE_BOTTLE_SMOLVM_HOME/);
    await mkdir(join(top, 'm'));
    await chmod(join(top, 'm'), 0o777);
    assert.match((await check('machines', '1.9.3')).detail, /it is not yours alone/);
  });

  test(
    'tells what keeps the users out that root’s machines run as',
    { skip: !isRoot && 'for root' },
    async () => {
      await chmod(top, 0o700);
      assert.match(
        (await check('machines', '1.9.3')).detail,
        new RegExp(`Others cannot walk through ${top}`),
      );
    },
  );

  test('tells how much room their disks have, before the directory is there', async () => {
    const disks = await check('machine disks', '1.9.3', {
      CLAUDE_BOTTLE_SMOLVM_HOME: join(top, 'not', 'yet'),
    });
    assert.match(disks.detail, /^[\d.]+ [kMGT]?B free for machines, .* to 32\.2 GB together$/);
  });
});

describe('doctor --boot', () => {
  const boot = async () => checkBoot(world(), Promise.resolve(recorder.smolvm('1.9.3')));
  const machine = (labels: object = {}) => ({ name: 'left', state: 'running', network: false, labels });
  /** Answers as a smolvm with one machine does, whatever its name. */
  const answers = async () => {
    await recorder.on('create', 'echo "$4" > "$d/name"');
    await recorder.on('delete', 'rm -f "$d/name"');
    const json = `{"name":"%s","state":"running","network":false,"labels":{}}`;
    await recorder.on('status', `printf '${json}' "$(cat "$d/name")"`);
    await recorder.on(
      'ls',
      `if [ -f "$d/name" ]; then printf '[${json}]' "$(cat "$d/name")"; else echo '[]'; fi`,
    );
  };
  const actions = async () => (await recorder.calls()).map(({ args }) => args[1]);

  test('says what to make when there is nothing to boot', async () => {
    const found = await boot();
    assert.deepEqual([found.status, found.detail], ['failed', 'there is no artifact to boot']);
    assert.match(found.hint ?? '', /claude-bottle pack /);
    assert.deepEqual(await recorder.calls(), []);
  });

  test('boots the artifact that was used last, from making to removing, and tells how long each took', async () => {
    const root = join(top, 'cache', 'claude-bottle');
    const later = () => new Date(Date.now() + 60_000);
    const entry = await publishArtifact(await Cache.open(root, { now: later }), 'app');
    await publishArtifact(await Cache.open(root), 'older');
    await answers();
    const found = await boot();
    assert.equal(found.status, 'ok', found.detail);
    const took = String.raw`in (\d+ ms|[\d.]+ s)`;
    const steps = ['made', 'started', 'answered', 'stopped', 'removed'].map((step) => `${step} ${took}`);
    assert.match(found.detail, new RegExp(`^app:latest: ${steps.join(', ')}$`));
    const calls = await recorder.calls();
    const create = calls.find(({ args }) => args[1] === 'create')?.args ?? [];
    assert.equal(create[create.indexOf('--from') + 1], entry.path);
    assert.ok(!create.includes('--net'));
    assert.ok(!create.some((argument) => argument.startsWith('claude-bottle.slug=')));
    assert.equal(create.at(-1), 'idle');
    assert.deepEqual(
      [...new Set(await actions())],
      ['ls', 'create', 'status', 'start', 'exec', 'stop', 'delete'],
    );
  });

  test('removes the machine that did not start, and says why it did not', async () => {
    await publishArtifact(await Cache.open(join(top, 'cache', 'claude-bottle')), 'app');
    await answers();
    await recorder.on('start', 'echo "Error: kvm not available: no module" >&2; exit 1');
    const found = await boot();
    assert.equal(found.status, 'failed');
    assert.match(found.detail, /could not start the machine claude-bottle-doctor-\w+: there is no KVM here/);
    assert.equal((await actions()).filter((action) => action === 'delete').length, 1);
  });

  test('removes what the tests of killed processes left, and nothing else', async () => {
    await publishArtifact(await Cache.open(join(top, 'cache', 'claude-bottle')), 'app');
    const owner = await currentOwner();
    const dead = { ...owner, startTime: '1' };
    for (const [labels, removed] of [
      [{ 'claude-bottle.doctor': JSON.stringify(dead) }, true],
      [{ 'claude-bottle.doctor': JSON.stringify(owner) }, false],
      [{ 'claude-bottle.doctor': 'nonsense' }, false],
      [{ 'claude-bottle.slug': 'a-1' }, false],
    ] as const) {
      await recorder.machines(machine(labels));
      await recorder.on('data-dir', 'echo "$d/vms/left"');
      await boot();
      const deleted = (await recorder.lines()).includes('machine delete --name left -f');
      assert.equal(deleted, removed, JSON.stringify(labels));
      await rm(join(recorder.directory, 'calls'));
    }
  });
});
