import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { removeRemains } from '../../src/smolvm/machine-remains.ts';
import { machinesBelow } from '../../src/smolvm/vm-processes.ts';
import { makeCgroups } from '../fakes/smolvm.d/cgroup.ts';
import { double } from './double.ts';
import { leftOf, MachineHouse } from './machine-house.ts';

let house: MachineHouse;
before(async () => {
  house = await MachineHouse.open();
  await house.up('io');
});
after(() => house[Symbol.asyncDispose]());

const remove = (name: string) => house.run(['machine', 'delete', '-f', '--name', name]);

describe('machines in trouble', () => {
  const start = (name: string, env: Record<string, string> = {}) =>
    house.run(['machine', 'start', '--name', name], env);

  test('a damaged artifact fails at create and leaves nothing', async () => {
    const whole = await readFile(house.artifact);
    const damaged = join(house.directory, 'damaged.smolmachine');
    const create = () => house.run(['machine', 'create', '--name', 'bad', '--from', damaged]);
    await writeFile(damaged, whole);
    await truncate(damaged, whole.length - 1);
    assert.match(
      (await create()).stderr,
      /^Error: agent operation failed: read \.smolmachine: invalid magic/,
    );
    const cut = Buffer.concat([whole.subarray(0, 5000), Buffer.alloc(whole.length - 5000)]);
    whole.copy(cut, whole.length - 4096, whole.length - 4096);
    cut.writeUInt32LE(1, cut.length - 12);
    await writeFile(damaged, cut);
    const { code, stderr } = await create();
    assert.equal(code, 1);
    assert.match(stderr, /^Error: agent operation failed: extract sidecar \(shared\): /);
    assert.match(
      (await house.run(['machine', 'create', '--name', 'bad', '--from', '/nosuch'])).stderr,
      /file not found: \/nosuch/,
    );
    const full = await house.create('bad', [], {
      FAKE_SMOLVM_FAIL: 'no-space',
      SMOLVM_DISABLE_SHARED_EXTRACT: '1',
    });
    assert.match(full.stderr, /extract sidecar: .*No space left on device/);
    assert.deepEqual(leftOf(house).filter((what) => /^[0-9a-f]{16}$/.test(what)).length, 1);
  });

  test("files are all root's when root starts machines as somebody else, and keep their owner otherwise", async () => {
    const owner = async (name: string) =>
      (await house.exec(name, ['stat', '-c', '%u', '/home/agent'])).stdout;
    assert.equal(await owner('io'), '1000\n');
    const dropped = { SMOLVM_VM_UID_DROP: '' };
    await house.create('squashed', [], dropped);
    assert.equal((await start('squashed', dropped)).code, 0);
    assert.equal(await owner('squashed'), '0\n');
    const chowned = await house.exec('squashed', [
      'sh',
      '-c',
      'chown 1000 /home/agent && stat -c %u /home/agent',
    ]);
    assert.equal(chowned.stdout, '1000\n');
    await remove('squashed');
    await chmod(join(house.directory, 'h'), 0o700);
    await house.create('walled', [], dropped);
    assert.match((await start('walled', dropped)).stderr, /agent did not become ready within 30 seconds/);
    assert.equal((await start('walled')).code, 0);
    await chmod(join(house.directory, 'h'), 0o755);
    await remove('walled');
  });

  test('no KVM, too long a path and no answer are failures of start', async () => {
    await house.create('hurt');
    for (const [env, words] of [
      [{ FAKE_SMOLVM_KVM: 'missing' }, /^Error: agent operation failed: start machine: kvm not available: /m],
      [
        { FAKE_SMOLVM_KVM: 'denied' },
        /^Error: agent operation failed: start machine: kvm permission denied: /m,
      ],
      [
        { FAKE_SMOLVM_FAIL: 'start-hang', FAKE_SMOLVM_READY_MS: '1000' },
        /did not become ready within 30 seconds/,
      ],
    ] as const) {
      const { code, stderr } = await start('hurt', env);
      assert.equal(code, 1);
      assert.match(stderr, words);
      assert.equal(await house.state('hurt'), 'created');
    }
    assert.equal((await start('hurt', { FAKE_SMOLVM_FAIL: 'start-137' })).code, null);
    const again = await start('hurt', { FAKE_SMOLVM_FAIL: 'start-137' });
    assert.equal(again.code, 0, again.stderr);
    await remove('hurt');
    const deep = join(house.directory, 'd'.repeat(70));
    await mkdir(deep);
    const env = { SMOLVM_DATA_DIR: deep };
    await house.create('deep', [], env);
    assert.match((await start('deep', env)).stderr, /did not become ready within 30 seconds/);
  });

  test('a start that was killed leaves a process, which stop and start end and delete does not', async () => {
    const killed = { FAKE_SMOLVM_FAIL: 'start-137' };
    for (const [command, processes] of [
      ['stop', 0],
      ['delete', 1],
    ] as const) {
      await house.create('orphan');
      await start('orphan', killed);
      assert.equal(await house.state('orphan'), 'created');
      const args = command === 'delete' ? ['-f'] : [];
      assert.equal((await house.run(['machine', command, '--name', 'orphan', ...args])).code, 0);
      const orphans = await machinesBelow(house.vms);
      assert.equal(orphans.length - 1, processes, command);
      if (command === 'stop') await remove('orphan');
    }
    // What still boots makes its directory anew.
    await removeRemains({ path: house.home, env: house.env }, 'orphan');
    assert.equal((await machinesBelow(house.vms)).length, 1);
  });

  test('a VM that was killed as it made its control groups keeps no start waiting', async () => {
    await house.create('early');
    const { stdout } = await house.run(['machine', 'data-dir', '--name', 'early']);
    makeCgroups(stdout.trim(), 64);
    const { code, stderr } = await start('early');
    assert.equal(code, 0, stderr);
    await remove('early');
  });

  test('a create that was killed does not keep the name', async () => {
    const child = spawn(double, ['machine', 'create', '--name', 'half', '--from', house.artifact], {
      env: { ...process.env, ...house.env, SMOLVM_DISABLE_SHARED_EXTRACT: '1' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'close');
    assert.doesNotMatch((await house.run(['machine', 'ls', '--json'])).stdout, /half/);
    const again = await house.create('half');
    assert.equal(again.code, 0, again.stderr);
    await remove('half');
  });

  test('the host is out of reach: no mounts, devices, switches of its kernel or foreign processes', async () => {
    const perl = (code: string) => `perl -e '${code}'`;
    const { stdout } = await house.exec('io', [
      'sh',
      '-c',
      [
        'echo b > /proc/sysrq-trigger && echo reached',
        'echo x > /proc/sys/kernel/hostname && echo reached',
        perl('syscall(165, "none", "/tmp", "tmpfs", 0, 0) == 0 and print "reached mount"'),
        perl('syscall(133, "/root/disk", 0060600, 0xfe00) == 0 and print "reached mknod"'),
        'ls /proc | head -n 1',
      ].join('\n'),
    ]);
    assert.equal(stdout, '1\n');
  });

  test('1.8.1 unpacks for each machine and calls the containers "container"', async () => {
    const env = { FAKE_SMOLVM_VERSION: '1.8.1' };
    await house.up('older', [], env);
    const shown = await house.run(['machine', 'exec', '--name', 'older', '--', 'hostname'], env);
    assert.equal(shown.stdout, 'container\n');
    const { stdout } = await house.run(['machine', 'data-dir', '--name', 'older'], env);
    assert.ok((await readdir(join(stdout.trim(), 'pack', 'layers'))).length === 1);
    await remove('older');
  });

  test('a machine that dies takes its commands with it', async () => {
    await house.create('dying');
    await start('dying', { FAKE_SMOLVM_FAIL: 'die-after-ms=1500' });
    const { code, stderr } = await house.exec('dying', ['sleep', '60'], ['-i']);
    assert.equal(code, 1);
    assert.match(stderr, /^Error: agent operation failed: run interactive: connection to VM lost/);
    assert.equal(await house.state('dying'), 'stopped');
    await remove('dying');
  });

  test('nothing is left of all this', async () => {
    await remove('io');
    assert.deepEqual(leftOf(house), []);
  });
});
