import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { MachineFailed, type MachineFailureCause } from '../../src/smolvm/errors.ts';
import { readMachine, readMachines } from '../../src/smolvm/machine.ts';
import { Machines } from '../../src/smolvm/machines.ts';
import { machineCauseOf } from '../../src/smolvm/output.ts';
import { Recorder } from './recorder.ts';

const home = { path: undefined, env: {} };
const info = { name: 'x', state: 'running', pid: 4711, network: false, labels: {} };

async function failure(call: Promise<unknown>): Promise<MachineFailed['fields']> {
  const error = await call.then(
    () => assert.fail('it should have failed'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof MachineFailed, String(error));
  return error.fields;
}

describe('what smolvm tells of a machine', () => {
  test('is read with the keys that a later release adds, and without those that an older one lacks', () => {
    const newer = {
      ...info,
      state: 'hibernating',
      labels: { a: 'b' },
      branched_from: null,
      disks: [{ gb: 1 }],
    };
    assert.deepEqual(readMachine(JSON.stringify(newer, undefined, 2)), {
      name: 'x',
      state: 'hibernating',
      pid: 4711,
      network: false,
      labels: { a: 'b' },
    });
    const older = { name: 'x', state: 'stopped', pid: null, network: true, mounts: 0 };
    assert.deepEqual(readMachines(JSON.stringify([older])), [
      { name: 'x', state: 'stopped', network: true, labels: {} },
    ]);
    assert.deepEqual(readMachines('[]\n'), []);
  });

  test('is not believed where it does not tell what matters, or is something else', () => {
    const { network: _network, ...silent } = info;
    for (const answer of [
      silent,
      { ...info, network: 'no' },
      { ...info, name: '' },
      { ...info, state: 1 },
      [],
      'x',
    ]) {
      assert.equal(readMachine(JSON.stringify(answer)), undefined);
    }
    assert.equal(readMachine('No machines found'), undefined);
    assert.equal(readMachines(JSON.stringify([info, silent])), undefined);
  });

  test('is nothing of one that is not there, and a failure where smolvm fails', async () => {
    await using recorder = await Recorder.make();
    const machines = Machines.open(recorder.smolvm('1.9.3'), home);
    await recorder.machines();
    assert.equal(await machines.status('x'), undefined);
    await recorder.machines(info);
    assert.deepEqual(await machines.status('x'), info);
    await recorder.on('status', 'echo "Error: database not available: locked" >&2; exit 1');
    const { action, name, code, quote } = await failure(machines.status('x'));
    assert.deepEqual([action, name, code], ['status', 'x', 1]);
    assert.match(quote, /database not available: locked/);
    await recorder.on('ls', 'echo "No machines found"');
    assert.match((await failure(machines.list())).quote, /cannot be read: .*No machines found/);
  });

  test('is never that of another machine', async () => {
    await using recorder = await Recorder.make();
    await recorder.on('status', `echo '${JSON.stringify({ ...info, name: 'y' })}'`);
    const { quote } = await failure(Machines.open(recorder.smolvm('1.9.3'), home).status('x'));
    assert.match(quote, /cannot be read/);
  });

  test('is read whole however many machines there are', async () => {
    await using recorder = await Recorder.make();
    const labels = Object.fromEntries(
      Array.from({ length: 20 }, (_, at) => [`label-${at}`, 'x'.repeat(100)]),
    );
    const many = Array.from({ length: 200 }, (_, at) => ({ ...info, name: `m-${at}`, labels }));
    await recorder.machines(...many);
    assert.equal((await Machines.open(recorder.smolvm('1.9.3'), home).list()).length, 200);
  });
});

describe('a failure', () => {
  const words: readonly (readonly [MachineFailureCause, string])[] = [
    ['no-kvm', 'kvm not available: KVM not available. Ensure KVM kernel module is loaded.'],
    ['no-kvm', 'hypervisor not available: no HVF'],
    ['kvm-permission', 'kvm permission denied: Cannot access /dev/kvm (permission denied).'],
    ['no-space', 'agent operation failed: extract sidecar (shared): No space left on device (os error 28)'],
    ['artifact', 'config operation failed: create from .smolmachine: file not found: /a'],
    ['artifact', 'agent operation failed: read .smolmachine: invalid magic: expected SMOLPACK'],
    [
      'artifact',
      "agent operation failed: platform mismatch: this artifact is built for architecture 'arm64'",
    ],
    ['exists', "config operation failed: create machine: machine 'x' already exists"],
    ['exists', "config operation failed: create: machine 'x' already exists or is being created"],
    ['not-running', "machine 'x' is not running. Use 'smolvm machine start --name x' first."],
    ['timeout', 'agent operation failed: start: agent did not become ready within 30 seconds'],
    ['unknown', 'database not available: locked'],
  ];
  for (const [cause, said] of words) {
    test(`of "${said.slice(0, 60)}" is ${cause}`, async () => {
      assert.equal(machineCauseOf(said, 1), cause);
      await using recorder = await Recorder.make();
      await recorder.on('start', `cat >&2 <<'SAID'\nStarting machine 'x'...\nError: ${said}\nSAID\nexit 1`);
      const fields = await failure(Machines.open(recorder.smolvm('1.9.3'), home).start('x'));
      assert.deepEqual(fields, {
        ...{ action: 'start', name: 'x', version: '1.9.3', code: 1, cause },
        quote: `Error: ${said}`,
      });
    });
  }

  test('of a smolvm that was killed is not what its last progress was about', async () => {
    await using recorder = await Recorder.make();
    await recorder.on('start', `echo 'Extracting /cache/a.smolmachine...' >&2\nkill -KILL $$`);
    const fields = await failure(Machines.open(recorder.smolvm('1.9.3'), home).start('x'));
    assert.deepEqual(fields, {
      ...{ action: 'start', name: 'x', version: '1.9.3', code: 137, cause: 'killed' },
      quote: 'Extracting /cache/a.smolmachine...',
    });
  });

  test('of a smolvm that was killed keeps its exit status, and that it said nothing', async () => {
    await using recorder = await Recorder.make();
    await recorder.on('start', 'kill -9 $$');
    const { code, quote } = await failure(Machines.open(recorder.smolvm('1.9.3'), home).start('x'));
    assert.deepEqual([code, quote], [137, 'exit status 137, and not a word']);
  });

  test('of a smolvm that never ends is its taking too long', async () => {
    await using recorder = await Recorder.make();
    await recorder.on('start', 'sleep 60');
    const machines = Machines.open(recorder.smolvm('1.9.3'), home, { deadlines: { start: 300 } });
    const { cause, code } = await failure(machines.start('x'));
    assert.deepEqual([cause, code], ['timeout', 137]);
  });
});

describe('exit status 1 of a program in a machine', () => {
  const refusal =
    "Error: agent operation failed: machine 'x' is not running. Use 'smolvm machine start' first.\n";
  const told = async (state: string | undefined, code: number, stderr: string) => {
    await using recorder = await Recorder.make();
    await recorder.machines(...(state === undefined ? [] : [{ ...info, state }]));
    return await Machines.open(recorder.smolvm('1.9.3'), home).execFailure('x', { code, stderr });
  };

  test("is smolvm's own when it says so and the machine does not run", async () => {
    for (const state of ['stopped', 'unreachable', undefined]) {
      const fields = (await told(state, 1, refusal))?.fields;
      assert.deepEqual([fields?.action, fields?.cause], ['exec', 'not-running']);
    }
    assert.equal(
      (await told('failed', 1, 'Error: io operation failed: No space left on device'))?.fields.cause,
      'no-space',
    );
  });

  test("is the program's when the machine runs, when it says something else, or when it is another status", async () => {
    assert.equal(await told('running', 1, refusal), undefined);
    assert.equal(await told('stopped', 1, 'grep: no such file'), undefined);
    assert.equal(await told('stopped', 2, refusal), undefined);
  });
});

describe('ending a machine', () => {
  test('that does not run, or is not there, is no error', async () => {
    await using recorder = await Recorder.make();
    const machines = Machines.open(recorder.smolvm('1.9.3'), home);
    await recorder.on('stop', 'echo "Error: vm not found: x" >&2; exit 1');
    await recorder.on('delete', 'echo "Error: vm not found: x" >&2; exit 1');
    await recorder.machines();
    await machines.stop('x');
    await machines.delete('x');
    await recorder.machines({ ...info, state: 'stopped' });
    await machines.stop('x');
  });

  test('that goes on running is one', async () => {
    await using recorder = await Recorder.make();
    await recorder.machines(info);
    await recorder.on('stop', 'echo "Error: agent operation failed: stop: refused" >&2; exit 1');
    const fields = await failure(Machines.open(recorder.smolvm('1.9.3'), home).stop('x'));
    assert.equal(fields.action, 'stop');
  });

  test('that claims to be deleted and is not is one', async () => {
    await using recorder = await Recorder.make();
    await recorder.machines(info);
    await recorder.on('data-dir', 'echo "$d/vms/x"');
    await recorder.on('delete', 'echo Cancelled');
    const fields = await failure(Machines.open(recorder.smolvm('1.9.3'), home).delete('x'));
    assert.equal(fields.action, 'delete');
    assert.match(fields.quote, /Cancelled/);
  });

  test('kills its process when smolvm cannot', async () => {
    await using recorder = await Recorder.make();
    const code = "process.on('SIGTERM', () => 0); process.stdout.write('up'); setInterval(() => 0, 1000)";
    const file = join(recorder.directory, 'vms', 'x', 'boot-config.json');
    const machine = spawn(process.execPath, ['-e', code, '_boot-vm', file], {
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    try {
      await once(machine.stdout, 'data');
      const ended = once(machine, 'exit');
      await recorder.on('stop', 'sleep 60');
      await recorder.on('data-dir', 'echo "$d/vms/x"');
      await recorder.on(
        'ls',
        `if [ -f "$d/gone" ]; then echo '[]'; else echo '${JSON.stringify([info])}'; fi`,
      );
      const runs = `kill -0 ${machine.pid} 2>/dev/null && ! grep -q '^State:.Z' /proc/${machine.pid}/status`;
      await recorder.on(
        'delete',
        `if ${runs}; then echo "Error: busy" >&2; exit 1; else touch "$d/gone"; fi`,
      );
      await Machines.open(recorder.smolvm('1.9.3'), home, { deadlines: { stop: 300 } }).delete('x');
      assert.deepEqual(await ended, [null, 'SIGKILL']);
    } finally {
      machine.kill('SIGKILL');
    }
  });
});
