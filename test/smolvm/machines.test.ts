import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  MachineFailed,
  type MachineFailureCause,
  MachineNetworked,
  MachinePathRefused,
  SmolvmTooOld,
} from '../../src/smolvm/errors.ts';
import type { MachineSpec } from '../../src/smolvm/machine.ts';
import { Machines } from '../../src/smolvm/machines.ts';
import { Recorder } from './recorder.ts';

const home = { path: '/somewhere', env: { SMOLVM_DATA_DIR: '/somewhere' } };

const spec: MachineSpec = {
  name: 'claude-bottle-a-1',
  artifact: '/cache/0123.smolmachine',
  cpus: 2,
  memoryMiB: 4096,
  storageGiB: 20,
  overlayGiB: 10,
  labels: { 'claude-bottle.slug': 'a-1', 'claude-bottle.owner.start-time': 'Mon Jan  1 00:00:00 2024' },
  volumes: [
    { source: '/run/init', target: '/run/claude-bottle-init', readOnly: true },
    { source: '/home/me/data', target: '/data', readOnly: false },
  ],
  sockets: [{ host: '/run/user/1000/gate.sock', guest: '/run/claude-bottle/gate.sock' }],
  env: { TERM: 'xterm', EMPTY: '', SUM: 'a=b c' },
  command: ['/run/claude-bottle-init/bottle-init', 'idle'],
};

const info = {
  name: spec.name,
  state: 'created',
  pid: null,
  network: false,
  labels: spec.labels,
  forkable: false,
};

function failed(cause: MachineFailureCause, quote?: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof MachineFailed, String(error));
    assert.equal(error.fields.cause, cause);
    if (quote !== undefined) assert.match(error.fields.quote, quote);
    return true;
  };
}

describe('the arguments of smolvm', () => {
  test('make a machine without a network, from its artifact, in its home, from a neutral directory', async () => {
    await using recorder = await Recorder.make();
    await recorder.machines(info);
    await Machines.open(recorder.smolvm('1.8.1'), home).create(spec);
    const [create, ...further] = await recorder.calls();
    assert.deepEqual(create, {
      dataDir: '/somewhere',
      cwd: '/',
      args: [
        ...['machine', 'create', '--name', 'claude-bottle-a-1', '--from', '/cache/0123.smolmachine'],
        ...['--cpus', '2', '--mem', '4096', '--storage', '20', '--overlay', '10'],
        ...['--label', 'claude-bottle.slug=a-1'],
        ...['--label', 'claude-bottle.owner.start-time=Mon Jan  1 00:00:00 2024'],
        ...['-v', '/run/init:/run/claude-bottle-init:ro', '-v', '/home/me/data:/data'],
        ...['--mount-socket', '/run/user/1000/gate.sock:/run/claude-bottle/gate.sock'],
        ...['-e', 'TERM=xterm', '-e', 'EMPTY=', '-e', 'SUM=a=b c'],
        ...['--', '/run/claude-bottle-init/bottle-init', 'idle'],
      ],
    });
    assert.deepEqual(
      further.map(({ args }) => args),
      [['machine', 'status', '--name', 'claude-bottle-a-1', '--json']],
    );
  });

  for (const [version, named] of [
    ['0.8.0', 'x'],
    ['1.0.1', 'x'],
    ['1.0.2', '--name x'],
    ['1.8.1', '--name x'],
    ['1.9.3', '--name x'],
  ] as const) {
    test(`of ${version} name a machine as that release does`, async () => {
      await using recorder = await Recorder.make();
      await recorder.machines();
      await recorder.on('data-dir', 'echo /cache/smolvm/vms/0123456789abcdef');
      const machines = Machines.open(recorder.smolvm(version), home);
      await machines.delete('x');
      assert.equal(await machines.dataDirectory('x'), '/cache/smolvm/vms/0123456789abcdef');
      await machines.start('x');
      assert.deepEqual(await recorder.lines(), [
        'machine stop --name x',
        `machine delete ${named} -f`,
        'machine ls --json',
        `machine data-dir ${named}`,
        'machine start --name x',
      ]);
    });
  }

  test('run a further program with --name, its output as it comes, its input only when wanted', () => {
    const smolvm = { path: '/opt/smolvm', version: { major: 1, minor: 9, patch: 3 }, can: () => true };
    const machines = Machines.open(smolvm, home);
    assert.deepEqual(machines.execCommand('x', ['sh', '-c', 'true'], { stdin: true }), {
      command: '/opt/smolvm',
      args: [
        ...['machine', 'exec', '--name', 'x', '--workdir', '/', '-i', '--stream', '--'],
        ...['sh', '-c', 'true'],
      ],
      env: home.env,
    });
    assert.deepEqual(machines.execCommand('x', ['--help'], { stdin: false }).args, [
      ...['machine', 'exec', '--name', 'x', '--workdir', '/', '--stream', '--', '--help'],
    ]);
  });

  test('are refused where smolvm would misread a path, before anything is made', async () => {
    await using recorder = await Recorder.make();
    const machines = Machines.open(recorder.smolvm('1.9.3'), home);
    const volume = (source: string) => ({ ...spec, volumes: [{ source, target: '/data', readOnly: false }] });
    const socket = (guest: string) => ({ ...spec, sockets: [{ host: '/run/a.sock', guest }] });
    for (const bad of [volume('/a:b'), volume('relative'), socket('/run/a:b'), socket('/run/a;b')]) {
      await assert.rejects(machines.create(bad), MachinePathRefused);
    }
    assert.deepEqual(await recorder.calls(), []);
  });
});

describe('a creation', () => {
  test('needs a smolvm that can make bottles', async () => {
    await using recorder = await Recorder.make();
    await assert.rejects(Machines.open(recorder.smolvm('1.8.0'), home).create(spec), (error) => {
      assert.ok(error instanceof SmolvmTooOld);
      assert.deepEqual([error.fields.found, error.fields.needed], ['1.8.0', '1.8.1']);
      return true;
    });
    assert.deepEqual(await recorder.calls(), []);
  });

  const make = 'touch "$d/made"';
  const listed = (machine: object) =>
    `if [ -f "$d/made" ]; then cat <<'JSON'\n${JSON.stringify([machine])}\nJSON\nelse echo '[]'; fi`;

  test('that came out with a network is undone and refused', async () => {
    await using recorder = await Recorder.make();
    const networked = { ...info, network: true };
    await recorder.machines(networked);
    await recorder.on('create', make);
    await recorder.on('ls', listed(networked));
    await recorder.on('delete', 'rm "$d/made"');
    await assert.rejects(Machines.open(recorder.smolvm('1.9.3'), home).create(spec), (error) => {
      assert.ok(error instanceof MachineNetworked);
      assert.deepEqual(error.fields, { name: spec.name, artifact: spec.artifact });
      return true;
    });
    assert.ok((await recorder.lines()).includes('machine delete --name claude-bottle-a-1 -f'));
  });

  test('whose network nobody tells of is undone and refused', async () => {
    await using recorder = await Recorder.make();
    const silent = { name: info.name, state: info.state, labels: info.labels };
    await recorder.on('create', make);
    await recorder.on('status', `echo '${JSON.stringify(silent)}'`);
    await recorder.on('ls', listed(info));
    await recorder.on('delete', 'rm "$d/made"');
    await assert.rejects(
      Machines.open(recorder.smolvm('1.9.3'), home).create(spec),
      failed('unknown', /cannot be read/),
    );
    assert.ok((await recorder.lines()).includes('machine delete --name claude-bottle-a-1 -f'));
  });

  test('that was interrupted is undone', async () => {
    await using recorder = await Recorder.make();
    await recorder.on('create', `${make}; sleep 60`);
    await recorder.on('ls', listed(info));
    await recorder.on('delete', 'rm "$d/made"');
    const stop = new AbortController();
    const creating = Machines.open(recorder.smolvm('1.9.3'), home).create(spec, stop.signal);
    setTimeout(() => stop.abort(new Error('enough')), 300);
    await assert.rejects(creating, { message: 'enough' });
    assert.ok((await recorder.lines()).includes('machine delete --name claude-bottle-a-1 -f'));
  });

  test('never removes a machine that was there before', async () => {
    const taken =
      'echo "Error: config operation failed: create machine: machine \'x\' already exists or is being created" >&2; exit 1';
    for (const [answer, there, cause] of [
      [taken, info, 'exists'],
      ['echo "Error: no" >&2; exit 1', { ...info, labels: {} }, 'unknown'],
    ] as const) {
      await using recorder = await Recorder.make();
      await recorder.machines(there);
      await recorder.on('create', answer);
      await assert.rejects(Machines.open(recorder.smolvm('1.9.3'), home).create(spec), failed(cause));
      assert.ok(!(await recorder.lines()).some((line) => line.includes('delete')));
    }
  });
});

describe('pruning what was unpacked', () => {
  test('asks smolvm for all of it, in this home, and reads what it freed', async () => {
    await using recorder = await Recorder.make();
    await recorder.on('prune', 'echo "Removed 2 cached entries, freed 1.5 GB"');
    const machines = Machines.open(recorder.smolvm('1.9.0'), home);
    assert.deepEqual(await machines.pruneUnpacked({ dryRun: false }), { entries: 2, bytes: 1.5 * 1024 ** 3 });
    assert.deepEqual(await recorder.calls(), [
      { dataDir: '/somewhere', cwd: '/', args: ['pack', 'prune', '--all'] },
    ]);
    await recorder.on('prune', 'echo "Would remove 1 cached entries (3 B)"');
    assert.deepEqual(await machines.pruneUnpacked({ dryRun: true }), { entries: 1, bytes: 3 });
    assert.equal((await recorder.lines())[1], 'pack prune --all --dry-run');
    await recorder.on('prune', 'echo "Done, somehow."');
    assert.equal(await machines.pruneUnpacked({ dryRun: false }), undefined);
  });

  test('needs a smolvm that knows what machines use', async () => {
    await using recorder = await Recorder.make();
    const pruning = Machines.open(recorder.smolvm('1.8.3'), home).pruneUnpacked({ dryRun: false });
    await assert.rejects(pruning, (error) => {
      assert.ok(error instanceof SmolvmTooOld);
      assert.deepEqual([error.fields.found, error.fields.needed], ['1.8.3', '1.9.0']);
      return true;
    });
    assert.deepEqual(await recorder.calls(), []);
  });

  test("fails in smolvm's words", async () => {
    await using recorder = await Recorder.make();
    const said = 'agent operation failed: prune shared artifact caches: empty shared pack pointer: /p';
    await recorder.on('prune', `echo 'Error: ${said}' >&2; exit 1`);
    const pruning = Machines.open(recorder.smolvm('1.9.3'), home).pruneUnpacked({ dryRun: false });
    await assert.rejects(pruning, (error) => {
      assert.ok(error instanceof MachineFailed);
      const quote = `Error: ${said}`;
      assert.deepEqual(error.fields, {
        ...{ action: 'prune', version: '1.9.3', code: 1, cause: 'unknown', quote },
      });
      return true;
    });
  });

  test('is not ended half-way by an interruption, but a dry run is', async () => {
    await using recorder = await Recorder.make();
    await recorder.on('prune', 'touch "$d/begun"; sleep 1; echo "Removed 1 cached entries, freed 3 B"');
    const machines = Machines.open(recorder.smolvm('1.9.3'), home);
    const stop = new AbortController();
    const pruning = machines.pruneUnpacked({ dryRun: false, signal: stop.signal });
    while (!existsSync(join(recorder.directory, 'begun'))) await sleep(10);
    stop.abort(new Error('enough'));
    assert.deepEqual(await pruning, { entries: 1, bytes: 3 });
    await assert.rejects(machines.pruneUnpacked({ dryRun: true, signal: stop.signal }), {
      message: 'enough',
    });
  });
});
