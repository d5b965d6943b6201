import assert from 'node:assert/strict';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { smolvm, versions } from './double.ts';
import { leftOf, MachineHouse, outputOf } from './machine-house.ts';

let house: MachineHouse;
before(async () => {
  house = await MachineHouse.open();
});
after(() => house[Symbol.asyncDispose]());

const machine = (command: string, name: string, ...more: string[]) =>
  house.run(['machine', command, '--name', name, ...more]);

describe('the arguments of machine commands', () => {
  const usage: readonly (readonly [string[], RegExp])[] = [
    [['create', 'x'], /unexpected argument 'x' found/],
    [['create', '--from', 'a', '--image', 'b'], /cannot be used with/],
    [['exec', '-n', 'x', '--', 'ls'], /unexpected argument '-n' found/],
    [['exec', '--name', 'x'], /required arguments were not provided:\n {2}<COMMAND>\.\.\./],
    [['exec', '--timeout', '0s', 'ls'], /must be greater than/],
    [['exec', '--timeout', 'soon', 'ls'], /invalid value 'soon' for '--timeout <DURATION>'/],
    [['exec', '-d', '-i', 'ls'], /cannot be used with '--interactive'/],
    [['delete', '-f'], /required arguments were not provided:\n {2}--name <NAME>/],
    [['delete', 'x', '-f'], /unexpected argument 'x'/],
    [['cp', 'a'], /required arguments were not provided:\n {2}<DST>/],
    [['ls', '--zap'], /unexpected argument '--zap'/],
  ];
  for (const [args, words] of usage) {
    test(`refuse: ${args.join(' ')}`, async () => {
      const { code, stderr } = await smolvm(['machine', ...args]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, words);
    });
  }

  test('are checked for older releases, too, which have no machines', async () => {
    for (const version of versions) {
      const old = ['0.8.0', '1.0.2', '1.5.0', '1.7.0'].includes(version);
      const env = { FAKE_SMOLVM_VERSION: version };
      assert.deepEqual((await house.run(['machine', 'ls', '--json'], env)).stdout, '[]\n');
      assert.equal((await house.run(['machine', 'stop', '--name', 'x'], env)).code, old ? 70 : 1);
      assert.equal((await house.run(['machine', 'exec', '-n', 'x', 'ls'], env)).code, 2);
      const positional = await house.run(['machine', 'delete', '-f', 'x'], env);
      assert.equal(positional.code, version === '0.8.0' ? 70 : 2);
      const labelled = await house.run(['machine', 'create', '--label', 'a=b', '--zap'], env);
      assert.equal(/'--label' found/.test(labelled.stderr), old);
    }
  });
});

describe('a machine', () => {
  test('is made, runs, stops, starts again with what it wrote, and is gone without a trace', async () => {
    const created = await house.create('life', ['--label', 'b=2', '--label', 'a=1=1']);
    assert.match(
      created.stdout,
      /^Extracting \.smolmachine assets\.\.\.\nCreated machine: life\n {2}CPUs: 4, Memory: 512 MiB\n/,
    );
    assert.equal(await house.state('life'), 'created');
    const early = await house.exec('life', ['id']);
    assert.deepEqual(
      [early.code, early.stderr],
      [
        1,
        "Error: agent operation failed: connect: machine 'life' is not running. Use 'smolvm machine start --name life' first.\n",
      ],
    );
    const started = await machine('start', 'life');
    assert.equal(started.stderr, "Starting machine 'life'...\n");
    assert.match(started.stdout, /^Machine 'life' running \(PID: \d+\)\n$/);
    assert.match((await machine('start', 'life')).stdout, /^Machine 'life' already running \(PID: \d+\)\n$/);

    const [only] = JSON.parse((await house.run(['machine', 'ls', '--json'])).stdout) as Record<
      string,
      unknown
    >[];
    assert.deepEqual(
      [only?.name, only?.state, only?.labels, only?.network, only?.memory_mib],
      ['life', 'running', { a: '1=1', b: '2' }, false, 512],
    );
    assert.equal(
      Object.keys(only ?? {}).some((key) => /cidr|hosts/.test(key)),
      false,
    );

    await house.exec('life', ['sh', '-c', 'echo kept > /root/file; echo lost > /tmp/file']);
    assert.equal(
      (await machine('stop', 'life')).stdout,
      "Stopping machine 'life'...\nStopped machine: life\n",
    );
    assert.equal(await house.state('life'), 'stopped');
    assert.equal((await machine('stop', 'life')).stdout, "Machine 'life' is not running (state: stopped)\n");
    await machine('start', 'life');
    const files = await house.exec('life', ['sh', '-c', 'cat /root/file /tmp/file']);
    assert.equal(files.stdout, 'kept\n');

    const deleted = await machine('delete', 'life', '-f');
    assert.match(deleted.stdout, /Stopping machine 'life'\.\.\.\nCleaning up .*\nDeleted machine: life\n$/);
    assert.deepEqual(leftOf(house), []);
    for (const command of ['stop', 'delete', 'start', 'status']) {
      const { code, stderr } = await machine(command, 'life', ...(command === 'delete' ? ['-f'] : []));
      assert.deepEqual([code, stderr], [1, 'Error: vm not found: life\n'], command);
    }
  });

  test('has a name by the rule, once', async () => {
    for (const name of ['-a', 'a-', 'a--b', 'a/b', 'a.b', 'ä', 'a'.repeat(129)]) {
      const { code, stderr } = await house.run([
        'machine',
        'create',
        `--name=${name}`,
        '--from',
        house.artifact,
      ]);
      assert.equal(code, 1, name);
      assert.match(stderr, /^Error: config operation failed: create machine: machine name /);
    }
    await house.create('twice');
    const { code, stderr } = await house.create('twice');
    assert.equal(code, 1);
    assert.match(stderr, /machine 'twice' already exists or is being created/);
    await machine('delete', 'twice', '-f');
  });

  test('is deleted without -f only by a yes: no input cancels, though it was stopped by then', async () => {
    await house.up('asked');
    const cancelled = await machine('delete', 'asked');
    assert.equal(cancelled.code, 0);
    assert.equal(cancelled.stderr, "Delete machine 'asked'? [y/N] ");
    assert.equal(cancelled.stdout, "Stopping machine 'asked'...\nCancelled\n");
    assert.equal(await house.state('asked'), 'stopped');
    await machine('delete', 'asked', '-f');
  });

  test('runs its workload: the one after --, else the packed one', async () => {
    await house.up('work', ['--', 'sh', '-c', 'echo $NAME $HOME $PWD > /root/said; exec sleep 1000']);
    const said = await house.exec('work', ['sh', '-c', 'cat /root/said; head -c5 /proc/1/cmdline']);
    assert.equal(said.stdout, 'packed /root /work\nsleep');
    await machine('delete', 'work', '-f');
    assert.equal((await house.create('none', ['--', 'nosuch'])).code, 0);
    const { code, stderr } = await machine('start', 'none');
    assert.equal(code, 1);
    assert.match(stderr, /Error: agent operation failed: start background CMD: .*nosuch/);
    assert.equal(await house.state('none'), 'created');
    await machine('delete', 'none', '-f');
  });

  test('has a main container that every command joins; if it ends, the next command makes another', async () => {
    await house.up('joined', ['--', 'sleep', '1000']);
    await house.exec('joined', ['sh', '-c', 'echo 1 > /tmp/one; sleep 500 & :'], ['-i']);
    const both = await house.exec('joined', ['sh', '-c', 'cat /tmp/one; cat /proc/[0-9]*/cmdline']);
    assert.match(both.stdout, /^1\nsleep\u00001000\u0000(sh.*)?sleep\u0000500\u0000/s);
    await house.exec('joined', ['sh', '-c', 'kill -KILL 1; kill -TERM 1; :']);
    const holder = await house.exec('joined', ['sh', '-c', 'cat /proc/1/cmdline']);
    assert.equal(holder.stdout, 'sleep\u00001000\u0000', 'a process cannot kill the first of its namespace');
    await machine('delete', 'joined', '-f');

    await house.up('short', ['--', 'sh', '-c', 'echo x > /tmp/mine; sleep 0.2']);
    await sleep(500);
    const later = await house.exec('short', ['sh', '-c', 'ls /tmp; cat /proc/1/cmdline']);
    assert.equal(later.stdout, '/run/smolvm/init\u0000container-init\u0000');
    await machine('delete', 'short', '-f');
  });

  test('has no network but its own loopback, and all of its commands share it', async () => {
    await house.up('quiet');
    const { stdout } = await house.exec('quiet', ['sh', '-c', 'cat /proc/net/dev; cat /proc/net/route']);
    assert.deepEqual(
      [...stdout.matchAll(/^\s*(\w+):/gm)].map(([, name]) => name),
      ['lo'],
    );
    const server =
      'use Socket; socket(S,PF_INET,SOCK_STREAM,0); bind(S,sockaddr_in(3128,INADDR_LOOPBACK)) or die; listen(S,5);' +
      'while(accept(C,S)){syswrite C,"relayed\\n"; close C}';
    await house.exec('quiet', ['perl', '-e', server], ['-d']);
    await sleep(100);
    const client =
      'use Socket; socket(S,PF_INET,SOCK_STREAM,0); connect(S,sockaddr_in(3128,INADDR_LOOPBACK)) or die $!; print <S>';
    assert.equal((await house.exec('quiet', ['perl', '-e', client])).stdout, 'relayed\n');
    const outside = client.replace('INADDR_LOOPBACK', 'inet_aton("192.0.2.1")');
    assert.match((await house.exec('quiet', ['perl', '-e', outside])).stderr, /Network is unreachable/);
    await machine('delete', 'quiet', '-f');
  });

  test('cannot be too small, and a fork bomb or a hog of memory ends in it', async () => {
    const tiny = await house.run([
      'machine',
      'create',
      '--name',
      't',
      '--from',
      house.artifact,
      '--mem',
      '32',
    ]);
    assert.match(tiny.stderr, /validate resources: memory must be at least 64 MiB \(got 32 MiB\)/);
    await house.up('bomb');
    const bomb = house.session('bomb', ['sh', '-c', 'b() { b | b & }; b; sleep 20'], ['-i']);
    await sleep(1500);
    bomb.kill('SIGKILL');
    const hog = await house.run(['machine', 'delete', '-f', '--name', 'bomb']);
    assert.equal(hog.code, 0, hog.stderr);
    assert.deepEqual(leftOf(house), []);
    await house.up('hog');
    const { code } = await house.exec('hog', ['perl', '-e', '$x = "x" x (800 * 1024 * 1024); print 1']);
    assert.equal(code, 137);
    assert.equal((await house.exec('hog', ['id', '-u'])).stdout, '0\n');
    await machine('delete', 'hog', '-f');
  });

  test('is one of several, each with several commands at once', async () => {
    const names = ['many-1', 'many-2', 'many-3'];
    await Promise.all(names.map((name) => house.up(name)));
    const all = names.flatMap((name) =>
      [1, 2, 3, 4].map(
        async (n) => (await house.exec(name, ['sh', '-c', `sleep 0.1; hostname; echo ${n}`])).stdout,
      ),
    );
    assert.deepEqual(
      await Promise.all(all),
      names.flatMap((name) => [1, 2, 3, 4].map((n) => `${name}\n${n}\n`)),
    );
    const same = await Promise.all([1, 2, 3].map(() => house.create('same')));
    assert.deepEqual(same.map(({ code }) => code).sort(), [0, 1, 1]);
    const starts = await Promise.all([1, 2, 3].map(() => machine('start', 'same')));
    assert.equal(starts.filter(({ stdout }) => /already running/.test(stdout)).length, 2);
    await Promise.all([...names, 'same'].map((name) => machine('delete', name, '-f')));
    assert.deepEqual(leftOf(house), []);
  });

  test('outlives a killed CLI; killed itself, it leaves its directory, and is told to be stopped', async () => {
    await house.up('killed');
    const session = house.session('killed', ['sh', '-c', 'echo go; cat; echo end > /root/ended'], ['-i']);
    await once(session.stdout!, 'data');
    session.kill('SIGKILL');
    await outputOf(session);
    await sleep(500);
    const ended = await house.exec('killed', ['cat', '/root/ended']);
    assert.equal(ended.stdout, 'end\n', 'its input ended and it went on');

    const { stdout } = await machine('status', 'killed', '--json');
    const { pid } = JSON.parse(stdout) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await sleep(300);
    assert.equal(await house.state('killed'), 'stopped');
    assert.match((await house.exec('killed', ['id'])).stderr, /is not running/);
    const left = leftOf(house);
    assert.deepEqual(left.length, 1, left.join());
    assert.equal((await machine('start', 'killed')).code, 0);
    await machine('delete', 'killed', '-f');
    assert.deepEqual(leftOf(house), []);
  });

  test('tells its directory', async () => {
    const { stdout } = await machine('data-dir', 'where');
    assert.match(stdout, new RegExp(`^${join(house.vms, '[0-9a-f]{16}')}\n$`));
    await assert.rejects(stat(stdout.trim()));
  });
});
