import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { before, describe, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { bottleInit, build, built, Running, until } from './guest.ts';
import { goMessage, Supervisor } from './supervisor.ts';

before(build);

const env = { ...process.env, ASAN_OPTIONS: 'detect_leaks=0', UBSAN_OPTIONS: 'print_stacktrace=1' };

/** bottle-init on this host, not as the first process. */
function held(supervisor: Supervisor, command: readonly string[], options: readonly string[] = []): Running {
  const args = [`--control=${supervisor.socketPath}`, ...options, '--', ...command];
  return new Running(built.sanitized, args, env);
}

describe('the handshake of bottle-init', { timeout: 60_000 }, () => {
  test('ready, go, started, exited, end: and the command’s status', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = held(supervisor, ['sh', '-c', 'echo "ran $SECRET"; exit 7']);
    await supervisor.hears('ready');
    assert.equal(init.output, '');
    await supervisor.go({ SECRET: 'from the host' });
    await supervisor.hears('started');
    assert.equal((await supervisor.hears('exited')).status, 7);
    assert.equal(init.child.exitCode, null);
    await supervisor.send('end\n');
    assert.equal(await init.ended, 7);
    assert.equal(init.output, 'ran from the host\n');
    assert.deepEqual(supervisor.heard, [
      '{"event":"ready"}',
      '{"event":"started"}',
      '{"event":"exited","status":7}',
    ]);
  });

  test('the environment is laid over the old one: names are replaced, the last one counts, HOME too', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = new Running(
      built.sanitized,
      [`--control=${supervisor.socketPath}`, '--user=0', '--', '/usr/bin/env'],
      { ...env, KEPT: 'k', REPLACED: 'old', REPLACED_NOT: 'n', HOME: '/image' },
    );
    await supervisor.hears('ready');
    await supervisor.send(
      goMessage(['REPLACED=first', 'NEW=a=b\nc', 'HOME=/given', 'EMPTY=', 'REPLACED=last']),
    );
    await supervisor.hears('exited');
    await supervisor.send('end\n');
    await init.ended;
    const lines = init.output.split('\n');
    for (const line of [
      'KEPT=k',
      'REPLACED=last',
      'REPLACED_NOT=n',
      'NEW=a=b',
      'c',
      'HOME=/given',
      'EMPTY=',
    ]) {
      assert.equal(lines.filter((one) => one === line).length, 1, `${line} in ${init.output}`);
    }
    assert.doesNotMatch(init.output, /old|first|image|HOME=\/root/);
  });

  test('without entries the environment stays as it is, with the account’s HOME', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = held(supervisor, ['sh', '-c', 'echo "home $HOME"'], ['--user=0']);
    await supervisor.go();
    await supervisor.hears('exited');
    assert.equal(init.output, 'home /root\n');
  });

  test('a writer that gives byte by byte is waited for', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = held(supervisor, ['sh', '-c', 'echo "slow $WORD"']);
    await supervisor.hears('ready');
    for (const byte of goMessage(['WORD=come', 'OTHER=x'])) await supervisor.send(Buffer.of(byte));
    await supervisor.hears('exited');
    assert.equal(init.output, 'slow come\n');
  });

  test('an environment of a full MiB in 4096 entries arrives whole', async () => {
    await using supervisor = await Supervisor.listen();
    const script = 'print length join "", map { $ENV{"V$_"} } 0 .. 4095';
    await using init = held(supervisor, ['perl', '-e', script]);
    const entries = Array.from({ length: 4096 }, (_, i) => `V${i}=`.padEnd(255, 'x'));
    const values = entries.reduce((sum, entry) => sum + entry.length - entry.indexOf('=') - 1, 0);
    assert.equal(goMessage(entries).length, 'go 1048576\n'.length + 1024 * 1024);
    await supervisor.hears('ready');
    await supervisor.send(goMessage(entries));
    await supervisor.hears('exited');
    assert.equal(init.output, String(values));
  });

  for (const [what, bytes, words] of [
    ['garbage', 'hello there\n', /malformed/],
    ['a line without an end', 'g'.repeat(100), /malformed/],
    ['a length that is no number', 'go 1x\n', /malformed/],
    ['no length', 'go \n', /malformed/],
    ['a negative length', 'go -1\n', /malformed/],
    ['more than a MiB', 'go 1048577\n', /malformed/],
    ['an entry without an end', 'go 3\nA=b', /malformed/],
    ['an entry without a name', 'go 3\n=b\0', /malformed/],
    ['an entry without a value', 'go 2\nA\0', /malformed/],
    ['an empty entry', 'go 1\n\0', /malformed/],
    ['more than 4096 entries', goMessage(Array.from({ length: 4097 }, (_, i) => `V${i}=`)), /malformed/],
    ['another end of line', 'end\r\n', /malformed/],
  ] as const) {
    test(`${what} instead of a go ends it with 125, and the command does not run`, async () => {
      await using supervisor = await Supervisor.listen();
      await using init = held(supervisor, ['echo', 'ran']);
      await supervisor.hears('ready');
      await supervisor.send(bytes);
      assert.equal(await init.ended, 125);
      assert.match(init.output, /^bottle-init: not started: [^\n]*\n$/);
      assert.match(init.output, words);
    });
  }

  test('an end of the connection before the go, or within it, ends it with 125', async () => {
    for (const bytes of ['', 'go', 'go 10\n', 'go 10\nA=b\0']) {
      await using supervisor = await Supervisor.listen();
      await using init = held(supervisor, ['echo', 'ran']);
      await supervisor.hears('ready');
      if (bytes !== '') await supervisor.send(bytes);
      await supervisor.hangUp();
      assert.equal(await init.ended, 125, bytes);
      assert.equal(init.output, 'bottle-init: not started: the control connection ended\n');
    }
  });

  test('a go before it is ready ends it with 125: nobody has seen what the probes found', async () => {
    await using supervisor = await Supervisor.listen();
    // It is there and says nothing: the attempt takes its second.
    const silent = createSocket('udp4').bind(0, '127.0.0.1');
    silent.unref();
    await once(silent, 'listening');
    const probe = `--probe=a=udp:127.0.0.1:${silent.address().port}:name`;
    await using init = held(supervisor, ['echo', 'ran'], [probe]);
    await supervisor.send(goMessage([]));
    assert.equal(await init.ended, 125);
    assert.equal(init.output, 'bottle-init: not started: a go that nobody asked for\n');
  });

  test('an end instead of a go ends it with 0', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = held(supervisor, ['echo', 'ran']);
    await supervisor.hears('ready');
    await supervisor.send('end\n');
    assert.equal(await init.ended, 0);
    assert.equal(init.output, '');
  });

  for (const [signal, status] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
    ['SIGQUIT', 131],
  ] as const) {
    test(`${signal} while it is held ends it with ${status}`, async () => {
      await using supervisor = await Supervisor.listen();
      await using init = held(supervisor, ['echo', 'ran']);
      await supervisor.hears('ready');
      init.child.kill(signal);
      assert.equal(await init.ended, status);
      assert.equal(init.output, '');
    });
  }

  test('any other signal while it is held waits for the command', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = held(supervisor, ['sleep', 'infinity']);
    await supervisor.hears('ready');
    init.child.kill('SIGUSR1');
    await supervisor.go();
    assert.equal((await supervisor.hears('exited')).status, 128 + 10);
  });

  test('what cannot be run is told with its status, and ends it', async () => {
    for (const [command, status, detail] of [
      [['no-such-program'], 127, 'cannot run no-such-program: not found in PATH'],
      [['/etc/pass"wd\u001b'], 127, 'cannot run /etc/pass"wd?: No such file or directory'],
      [['/etc/passwd'], 126, 'cannot run /etc/passwd: Permission denied'],
    ] as const) {
      await using supervisor = await Supervisor.listen();
      await using init = held(supervisor, command);
      await supervisor.go();
      assert.deepEqual(await supervisor.hears('unrunnable'), { event: 'unrunnable', status, detail });
      assert.equal(await init.ended, status);
      assert.equal(init.output, `bottle-init: ${detail}\n`);
      assert.equal(supervisor.heard.length, 2);
    }
    await using supervisor = await Supervisor.listen();
    await using init = held(supervisor, ['true'], ['--workdir=/no/such']);
    await supervisor.go();
    const detail = 'cannot go to /no/such: No such file or directory';
    assert.deepEqual(await supervisor.hears('unrunnable'), { event: 'unrunnable', status: 125, detail });
    assert.equal(await init.ended, 125);
  });

  test('without anybody on the socket it ends with 125', async () => {
    const { code, stderr } = await run(bottleInit, ['--control=/no/such.sock', '--', 'echo', 'ran']);
    assert.deepEqual(
      [code, stderr],
      [125, 'bottle-init: cannot connect to /no/such.sock: No such file or directory\n'],
    );
  });

  test('a supervisor that dies after the go takes nothing with it, and there is no lingering', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = held(supervisor, ['sh', '-c', 'echo up; read -r _; exit 5'], []);
    await supervisor.go();
    await init.says('up');
    await supervisor.hangUp();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(init.child.exitCode, null);
    init.child.stdin!.end('\n');
    assert.equal(await init.ended, 5);
    assert.equal(init.output, 'up\n');
  });

  test('an end while the command runs means that nobody waits for it', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = held(supervisor, ['sh', '-c', 'echo up; read -r _; exit 5']);
    await supervisor.go();
    await init.says('up');
    await supervisor.send('end\n');
    init.child.stdin!.end('\n');
    assert.equal(await init.ended, 5);
    assert.ok(!supervisor.events.some(({ event }) => event === 'exited'));
  });

  for (const [what, end] of [
    ['end', (supervisor: Supervisor) => supervisor.send('end\n')],
    ['the end of the connection', (supervisor: Supervisor) => supervisor.hangUp()],
    ['garbage', (supervisor: Supervisor) => supervisor.send('what\n')],
    ['SIGTERM', (_: Supervisor, init: Running) => init.child.kill('SIGTERM')],
    ['SIGQUIT', (_: Supervisor, init: Running) => init.child.kill('SIGQUIT')],
  ] as const) {
    test(`it lingers through SIGINT and SIGHUP until ${what}, and ends with the command’s status`, async () => {
      await using supervisor = await Supervisor.listen();
      await using init = held(supervisor, ['sh', '-c', 'exit 9']);
      await supervisor.go();
      await supervisor.hears('exited');
      init.child.kill('SIGINT');
      init.child.kill('SIGHUP');
      // It has taken them when none is pending any more.
      await until(async () => {
        const status = await readFile(`/proc/${init.child.pid}/status`, 'utf8');
        return /ShdPnd:\t0+\n/.test(status) || undefined;
      });
      assert.equal(init.child.exitCode, null);
      await end(supervisor, init);
      assert.equal(await init.ended, 9);
    });
  }

  test('signals reach the command after the go, as without a handshake', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = held(supervisor, [
      'sh',
      '-c',
      'trap "exit 3" TERM; echo up; while :; do sleep 0.02; done',
    ]);
    await supervisor.go();
    await init.says('up');
    init.child.kill('SIGTERM');
    assert.equal((await supervisor.hears('exited')).status, 3);
  });

  test('the command inherits no descriptor of the connection', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = held(
      supervisor,
      ['sh', '-c', 'ls -l /proc/self/fd'],
      ['--relay=127.0.0.1:17114=/nowhere'],
    );
    await supervisor.go();
    await supervisor.hears('exited');
    const { stdout: without } = await run(bottleInit, ['--', 'sh', '-c', 'ls /proc/self/fd']);
    assert.equal(init.output.match(/ -> /g)?.length, without.trim().split('\n').length, init.output);
  });

  test('the environment of the go is not left in bottle-init', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = new Running(
      bottleInit,
      [`--control=${supervisor.socketPath}`, '--', 'sleep', 'infinity'],
      env,
    );
    await supervisor.go({ SECRET: 'wiped-after-the-fork' });
    await supervisor.hears('started');
    const has = async (pid: number | string) => {
      // Everything that is mapped and writable, as only root may read it.
      const script = `my $n = 0; open my $m, "<", "/proc/$ARGV[0]/maps"; open my $h, "<", "/proc/$ARGV[0]/mem";
        while (<$m>) { /^(\\w+)-(\\w+) rw/ or next; my ($a, $b) = (hex $1, hex $2); sysseek $h, $a, 0;
          for (my $left = $b - $a; $left > 0;) { my $got = sysread $h, my $bytes, $left < 65536 ? $left : 65536;
            last if !$got; $left -= $got; $n++ while $bytes =~ /wiped-after-the-fork/g } }
        print $n`;
      const { code, stdout, stderr } = await run('perl', ['-e', script, String(pid)]);
      assert.equal(code, 0, stderr);
      return Number(stdout);
    };
    const { stdout: child } = await run('pgrep', ['--parent', String(init.child.pid)]);
    // The command has it, which also shows that the search finds what is there.
    assert.equal(await has(child.trim()), 1);
    assert.equal(await has(init.child.pid!), 0);
    await supervisor.send('end\n');
  });

  test('arm64 speaks it too (under qemu)', async () => {
    await using supervisor = await Supervisor.listen();
    const args = [
      `--control=${supervisor.socketPath}`,
      '--probe=a=tcp:127.0.0.1:1',
      '--',
      'sh',
      '-c',
      'echo $WORD',
    ];
    await using init = new Running('qemu-aarch64', [built.arm64, ...args]);
    await supervisor.go({ WORD: 'arm' });
    await supervisor.hears('exited');
    await supervisor.send('end\n');
    assert.equal(await init.ended, 0);
    assert.equal(init.output, 'arm\n');
    assert.deepEqual(supervisor.events[0], { check: 'a', outcome: 'failed', detail: 'Connection refused' });
  });

  test('valgrind finds no error in the whole of it', async () => {
    await using supervisor = await Supervisor.listen();
    const valgrind = ['--error-exitcode=99', '--quiet', built.hosted, `--control=${supervisor.socketPath}`];
    const probes = [
      '--probe=a=tcp:127.0.0.1:1',
      '--probe=b=direct:http://nowhere.invalid/',
      '--probe=c=proxy:x',
    ];
    await using init = new Running('valgrind', [...valgrind, ...probes, '--', 'true'], env);
    await supervisor.go({ A: 'b', HOME: '/' });
    await supervisor.hears('exited');
    await supervisor.send('end\n');
    assert.equal(await init.ended, 0, init.output);
    // What is left is a request on terminals that it does not know.
    assert.doesNotMatch(init.output, /Invalid|uninitialised|ERROR|at 0x/);
  });
});
