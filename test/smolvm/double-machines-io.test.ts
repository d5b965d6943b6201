import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { machinesBelow } from '../../src/smolvm/vm-processes.ts';
import { double } from './double.ts';
import { leftOf, MachineHouse, outputOf } from './machine-house.ts';

let house: MachineHouse;
before(async () => {
  house = await MachineHouse.open();
  await house.up('io');
});
after(() => house[Symbol.asyncDispose]());

const remove = (name: string) => house.run(['machine', 'delete', '-f', '--name', name]);

const pidOf = async (name: string) =>
  (JSON.parse((await house.run(['machine', 'status', '--name', name, '--json'])).stdout) as { pid: number })
    .pid;

describe('a command in a machine', () => {
  test("ends with its own status, its signal's, or 124 after its time", async () => {
    const status = async (command: string, ...args: string[]) =>
      (await house.exec('io', ['sh', '-c', command], args)).code;
    assert.deepEqual(
      [await status('exit 7'), await status('kill -TERM $$'), await status('kill -KILL $$', '-i')],
      [7, 143, 137],
    );
    const late = await house.exec('io', ['sh', '-c', 'echo early; sleep 60 & wait'], ['--timeout', '500ms']);
    assert.deepEqual([late.code, late.stdout], [124, 'early\n']);
    assert.match(late.stderr, /command timed out after 500ms$/);
    const left = await house.exec('io', ['sh', '-c', 'cat /proc/[0-9]*/cmdline']);
    assert.doesNotMatch(left.stdout, /sleep\u000060/, 'what it started went with it');
    assert.equal((await house.exec('io', ['nosuch'])).code, 255);
  });

  test('is root, has the packed variables and its own, and starts where it is told', async () => {
    const seen = await house.exec(
      'io',
      ['sh', '-c', 'id -u; echo $HOME $NAME $KEPT; pwd'],
      ['-e', 'NAME=own', '-w', '/home/agent'],
    );
    assert.equal(seen.stdout, '0\n/root own yes\n/home/agent\n');
    assert.equal((await house.exec('io', ['sh', '-c', 'pwd'])).stdout, '/work\n');
  });

  test('has no input without -i, an input that never ends with --stream, and all of it with -i', async () => {
    assert.equal((await house.exec('io', ['wc', '-c'])).stdout, '0\n');
    const open = await house.exec('io', ['cat'], ['--stream', '--timeout', '500ms']);
    assert.equal(open.code, 124);
    for (const args of [['-i'], ['-i', '--stream']]) {
      const session = house.session('io', ['wc', '-c'], args);
      session.stdin!.end(Buffer.alloc(5_000_000));
      assert.deepEqual(await outputOf(session), { code: 0, stdout: '5000000\n', stderr: '' });
    }
    const reopened = house.session('io', ['sh', '-c', 'cat < /dev/stdin > /dev/stdout'], ['-i']);
    reopened.stdin!.write('again\n');
    const [again] = (await once(reopened.stdout!, 'data')) as [Buffer];
    assert.equal(again.toString(), 'again\n');
    reopened.stdin!.end();
    assert.equal((await outputOf(reopened)).code, 0);
  });

  test('speaks at the end without --stream or -i, live with them', async () => {
    for (const [args, isLive] of [
      [[], false],
      [['--stream'], true],
      [['-i'], true],
    ] as const) {
      const session = house.session('io', ['sh', '-c', 'echo first; sleep 1; echo second'], args);
      const [first] = (await once(session.stdout!, 'data')) as [Buffer];
      assert.equal(first.toString(), isLive ? 'first\n' : 'first\nsecond\n');
      await outputOf(session);
    }
  });

  test('cannot say more than smolvm takes: 11 MiB of a stream, 20 MiB of both, 11 MiB with --stream', async () => {
    const zeros = (mib: number) => `head -c ${mib * 1024 * 1024} /dev/zero`;
    const cut = await house.exec('io', ['sh', '-c', zeros(15)]);
    assert.ok(cut.stdout.length >= 11 * 1024 * 1024 && cut.stdout.length < 12 * 1024 * 1024);
    const both = await house.exec('io', ['sh', '-c', `${zeros(11)}; ${zeros(11)} >&2`]);
    assert.equal(both.code, 1);
    assert.match(
      both.stderr,
      /^Error: agent operation failed: run command: command output too large \(\d+ bytes/,
    );
    const streamed = await house.exec('io', ['sh', '-c', zeros(15)], ['--stream']);
    assert.equal(streamed.code, 1);
    assert.match(streamed.stderr, /^error: streaming output exceeded 11534336 byte cap/);
    assert.equal((await house.exec('io', ['sh', '-c', zeros(15)], ['-i'])).stdout.length, 15 * 1024 * 1024);
  });

  test('has a terminal of 80 columns and 24 lines with -t', async () => {
    const session = house.session('io', ['sh', '-c', 'stty size; read line; echo got $line'], ['-i', '-t']);
    await once(session.stdout!, 'data');
    session.stdin!.write('this\n');
    const { code, stdout } = await outputOf(session);
    assert.equal(code, 0);
    assert.match(stdout, /got this\r\n$/);
    const size = await house.exec('io', ['sh', '-c', 'stty size; echo two >&2'], ['-t']);
    assert.match(size.stdout, /24 80\r\ntwo\r\n/);
  });

  test('is killed with its client if it speaks at the end, and goes on if it speaks live', async () => {
    for (const [args, goesOn] of [
      [[], false],
      [['-i'], true],
    ] as const) {
      const mark = goesOn ? 'live' : 'late';
      const session = house.session(
        'io',
        ['sh', '-c', `echo > /tmp/${mark}; sleep 1; echo > /tmp/${mark}-end`],
        args,
      );
      const seen = async (name: string) =>
        (await house.exec('io', ['sh', '-c', 'ls /tmp'])).stdout.includes(name);
      while (!(await seen(mark))) await sleep(20);
      session.kill('SIGKILL');
      await sleep(1500);
      assert.equal(await seen(`${mark}-end`), goesOn, mark);
    }
  });

  test('runs on alone with -d, whose pid is printed', async () => {
    const { stdout } = await house.exec('io', ['sh', '-c', 'sleep 0.3; echo > /tmp/detached'], ['-d']);
    assert.match(stdout, /^\d+\n$/);
    await sleep(800);
    assert.equal((await house.exec('io', ['ls', '/tmp/detached'])).code, 0);
  });
});

describe('what the host lends to a machine', () => {
  test('volumes are there, and one that is only to be read cannot be written', async () => {
    const [shared, sealed] = [join(house.directory, 'shared'), join(house.directory, 'sealed')];
    for (const path of [shared, sealed]) await mkdir(path);
    await writeFile(join(sealed, 'program'), '#!/bin/sh\necho ran\n');
    await chmod(join(sealed, 'program'), 0o755);
    await house.up('volumes', ['-v', `${shared}:/mnt/shared`, '-v', `${sealed}:/run/tools:ro`]);
    const { stdout, stderr } = await house.exec('volumes', [
      'sh',
      '-c',
      '/run/tools/program; echo in > /mnt/shared/file; echo no > /run/tools/file; rm /run/tools/program',
    ]);
    assert.equal(stdout, 'ran\n');
    assert.match(stderr, /Read-only file system/);
    assert.equal(await readFile(join(shared, 'file'), 'utf8'), 'in\n');
    await remove('volumes');
    for (const [volume, words] of [
      ['/nosuch:/a', /^Error: mount source not found: \/nosuch\n/],
      [`${house.artifact}:/a`, /must be a directory/],
      [`${shared}:a`, /should be an absolute directory/],
      ['/etc:/a', /is a protected system path/],
      ['/run:/a', /is a protected system path/],
      ['onlyone', /^Error: invalid mount path: invalid format 'onlyone'/],
    ] as const) {
      const { code, stderr: said } = await house.create('refused', ['-v', volume]);
      assert.equal(code, 1);
      assert.match(said, words);
    }
  });

  test('a socket reaches whoever listens on the host, at that moment and again, and keeps half-closed', async () => {
    const host = join(house.directory, 'gate.sock');
    await house.up('sockets', ['--mount-socket', `${host}:/run/claude/gate.sock`]);
    const client =
      'use Socket; $SIG{PIPE}="IGNORE"; socket(S,PF_UNIX,SOCK_STREAM,0); connect(S,sockaddr_un("/run/claude/gate.sock")) or die "$!\\n";' +
      'syswrite S,"hello"; shutdown(S,1); print <S>; print "."';
    const ask = () => house.exec('sockets', ['perl', '-e', client]);
    assert.equal((await ask()).stdout, '.', 'nobody listens yet');
    for (const word of ['first', 'second']) {
      const server = createServer({ allowHalfOpen: true }, (connection: Socket) => {
        let said = '';
        connection.on('data', (data: Buffer) => {
          said += data.toString();
        });
        connection.on('end', () => connection.end(`${word} ${said}`));
      }).listen(host);
      await once(server, 'listening');
      assert.equal((await ask()).stdout, `${word} hello.`);
      server.close();
      await once(server, 'close');
      await rm(host, { force: true });
    }
    assert.equal((await ask()).stdout, '.');
    await remove('sockets');
    for (const [args, words] of [
      [['--mount-socket', '/a'], /expected HOST_PATH:GUEST_PATH, got '\/a'/],
      [['--mount-socket', '/a:b'], /guest path 'b' must be absolute/],
      [['--mount-socket', '/a:/b', '--mount-socket', '/c:/b'], /is mounted more than once/],
      [Array.from({ length: 65 }, (_, at) => ['--mount-socket', `/a:/b${at}`]).flat(), /max is 64/],
      [['--label', 'novalue'], /--label: expected KEY=VALUE, got 'novalue'/],
    ] as const) {
      const { code, stderr } = await house.create('refused', args);
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
  });

  test('a network is not played, but told', async () => {
    assert.equal((await house.create('net', ['--net'])).code, 0);
    const { stdout } = await house.run(['machine', 'status', '--name', 'net', '--json']);
    assert.equal((JSON.parse(stdout) as { network: boolean }).network, true);
    assert.equal((await house.run(['machine', 'start', '--name', 'net'])).code, 70);
    await remove('net');
  });
});

describe('cp', () => {
  const copy = (...args: string[]) => house.run(['machine', 'cp', ...args]);

  test('brings one file in and out, to the disk and not to what is mounted over it', async () => {
    const [local, back] = [join(house.directory, 'local'), join(house.directory, 'back')];
    const content = Buffer.alloc(3_000_000, 'abc');
    await writeFile(local, content);
    const up = await copy(
      '--mode',
      '640',
      '--uid',
      '1000',
      '--gid',
      '1000',
      local,
      'io:/home/agent/new/file',
    );
    assert.equal(up.code, 0, up.stderr);
    assert.equal(up.stdout, '');
    const seen = await house.exec('io', ['stat', '-c', '%a %u %g %s', '/home/agent/new/file']);
    assert.equal(seen.stdout, '640 1000 1000 3000000\n');
    assert.equal((await copy('io:/home/agent/new/file', back)).code, 0);
    assert.deepEqual(await readFile(back), content);
    await copy(local, 'io:/tmp/unseen');
    assert.notEqual((await house.exec('io', ['ls', '/tmp/unseen'])).code, 0);
  });

  test('refuses directories, what is not there, and flags that older releases do not have', async () => {
    for (const [args, words] of [
      [[house.directory, 'io:/a'], /Is a directory/],
      [['io:/home', join(house.directory, 'x')], /not a regular file/],
      [['io:/nosuch', join(house.directory, 'x')], /file not found/],
      [['/nosuch', 'io:/a'], /No such file or directory/],
      [['a', 'b'], /must use machine:path syntax/],
      [['--mode', '9', house.artifact, 'io:/a'], /invalid octal mode '9'/],
      [['--uid', '1', 'io:/a', 'b'], /apply to uploads only/],
      [[house.artifact, 'other:/a'], /vm not found: other/],
    ] as const) {
      const { code, stderr } = await copy(...args);
      assert.equal(code, 1, stderr);
      assert.match(stderr, words);
    }
    const old = await house.run(['machine', 'cp', '--mode', '1', 'a', 'io:/a'], {
      FAKE_SMOLVM_VERSION: '1.8.1',
    });
    assert.equal(old.code, 2);
  });
});

describe('trouble', () => {
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
      else for (const { pid } of orphans) if (pid !== (await pidOf('io'))) process.kill(pid, 'SIGKILL');
    }
    await sleep(500);
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
