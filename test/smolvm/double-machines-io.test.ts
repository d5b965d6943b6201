import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MachineHouse, outputOf } from './machine-house.ts';

let house: MachineHouse;
before(async () => {
  house = await MachineHouse.open();
  await house.up('io');
});
after(() => house[Symbol.asyncDispose]());

const remove = (name: string) => house.run(['machine', 'delete', '-f', '--name', name]);

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
