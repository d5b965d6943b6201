import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { bottleInit, build, built, docker, runSealed, startSealed, until } from './guest.ts';

before(build);

describe('bottle-init as the first process', { timeout: 60_000 }, () => {
  for (const [what, command, expected, words] of [
    ['a success', ['true'], 0, undefined],
    ['a status', ['sh', '-c', 'exit 42'], 42, undefined],
    ['a signal as 128 + n', ['sh', '-c', 'kill -SEGV $$'], 139, undefined],
    ['a missing command as 127', ['no-such-program'], 127, /cannot run no-such-program: not found in PATH/],
    ['a missing file as 127', ['/no/such'], 127, /cannot run \/no\/such: No such file or directory/],
    ['a file that is no program as 126', ['/etc/passwd'], 126, /Permission denied/],
    ['a directory as 126', ['/etc'], 126, /Permission denied/],
    ['an empty command as 127', [''], 127, /empty name/],
  ] as const) {
    test(`passes on ${what}`, async () => {
      for (const program of [bottleInit, built.sanitized]) {
        const env = { ASAN_OPTIONS: 'detect_leaks=0' };
        const { code, stderr } = await run(program, ['--user=0', '--', ...command], { env });
        assert.equal(code, expected, stderr);
        if (words === undefined) assert.equal(stderr, '');
        else assert.match(stderr, words);
      }
    });
  }

  test('a script without an interpreter is 126, and is not given to a shell', async () => {
    const script = 'echo echo reached > /bin/x; chmod 755 /bin/x; exec /bottle-init exec -- x';
    const { code, stdout, stderr } = await runSealed(['--', 'sh', '-c', script]);
    assert.deepEqual([code, stdout, stderr], [126, '', 'bottle-init: cannot run x: Exec format error\n']);
  });

  test('relative directories of PATH are not searched', async () => {
    const { code } = await run(bottleInit, ['--', 'sh'], { cwd: '/bin', env: { PATH: ':.:relative' } });
    assert.equal(code, 127);
  });

  test('passes on standard input and output, with Docker', async () => {
    const { code, stdout } = await docker(
      [
        'run',
        '--rm',
        '-i',
        '--network=none',
        `-v=${bottleInit}:/bottle-init:ro`,
        '--entrypoint=/bottle-init',
      ].concat(['debian:bookworm-slim', '--user=www-data', '--', 'sh', '-c', 'cat; exit 3']),
      { input: 'through\n' },
    );
    assert.deepEqual([code, stdout], [3, 'through\n']);
  });

  test('the command inherits streams, limits, signals and umask as they were', async () => {
    const script =
      'ls -l /proc/self/fd | wc -l; ulimit -Sn; umask; grep -E "^(SigBlk|SigIgn|SigCgt)" /proc/self/status';
    const wrapped = ['sh', '-c', `ulimit -Sn 123; umask 027; exec "$@"`, 'sh'];
    const plain = await run('sh', ['-c', script], { cwd: '/' });
    assert.equal(plain.code, 0);
    const relay = '--relay=127.0.0.1:17113=/nowhere';
    const before = await run(wrapped[0]!, [...wrapped.slice(1), 'sh', '-c', script]);
    const ours = await run(wrapped[0]!, [...wrapped.slice(1), bottleInit, relay, '--', 'sh', '-c', script]);
    assert.equal(ours.stdout, before.stdout, ours.stderr);
    assert.match(ours.stdout, /^\d\n123\n0027\n/);
  });

  test('500 orphans are reaped', async () => {
    const script = `
      for my $i (1 .. 500) { my $pid = fork; if (!$pid) { fork and exit 0; exit 0 } waitpid $pid, 0 }
      for (1 .. 500) {
        my $zombies = grep { open my $f, "<", $_ and <$f> =~ /\\) Z / } glob "/proc/[0-9]*/stat";
        if (!$zombies) { print "none left\\n"; exit 0 }
        select undef, undef, undef, 0.02;
      }
      exit 1`;
    const { code, stdout, stderr } = await runSealed(['--', 'perl', '-e', script]);
    assert.deepEqual([code, stdout], [0, 'none left\n'], stderr);
  });

  test('signals reach the command and its children, and its status comes back', async () => {
    const signals = [
      'USR2',
      'HUP',
      'INT',
      'QUIT',
      'USR1',
      'WINCH',
      'CONT',
      'TSTP',
      'ALRM',
      'RTMIN+3',
      'TERM',
    ];
    const traps = signals
      .map((name) => `trap 'echo ${name}${name === 'TERM' ? '; exit 9' : ''}' ${name}`)
      .join('; ');
    // The child of the command counts too: a signal goes to the whole group.
    const script = `bash -c "trap 'echo child; exit' USR2; echo born; while :; do sleep 0.02; done" & ${traps}; echo ready; while :; do sleep 0.02; done`;
    await using container = await startSealed(['--user=www-data', '--', 'bash', '-c', script]);
    const says = (text: string) =>
      until(
        async () => (await docker(['logs', container.name])).stdout.split('\n').includes(text) || undefined,
      );
    await says('ready');
    await says('born');
    const waited = docker(['wait', container.name]);
    for (const name of signals.slice(0, -1)) {
      await docker(['kill', `--signal=${name}`, container.name]);
      await says(name);
      if (name === 'USR2') await says('child');
    }
    await docker(['kill', '--signal=TERM', container.name]);
    assert.equal((await waited).stdout, '9\n');
  });

  test('the first signal is not lost, however early it comes', async () => {
    // The signal is there before the command: it is blocked until the shell has become bottle-init.
    const script = `$SIG{TERM} = 'DEFAULT'; use POSIX; my $set = POSIX::SigSet->new(SIGTERM);
      sigprocmask(SIG_BLOCK, $set); kill TERM => $$; exec @ARGV`;
    const { code } = await run('timeout', [
      ...['20', 'perl', '-e', script, bottleInit, '--', 'sh', '-c', 'kill -0 $$; sleep infinity'],
    ]);
    assert.equal(code, 143);
  });

  test('what outlives the command gets TERM, then KILL, and the status stays', async () => {
    const script = `
      mkdir /seen 2>/dev/null
      setsid bash -c 'trap "echo term > /seen/polite; exit" TERM; touch /seen/1; while :; do sleep 0.02; done' &
      setsid bash -c 'trap "echo term > /seen/deaf" TERM; touch /seen/2; while :; do sleep 0.02; done' &
      until [ -e /seen/1 ] && [ -e /seen/2 ]; do sleep 0.02; done
      exit 5`;
    const volume = `bottle-init-test-${process.pid}`;
    try {
      const options = [`--volume=${volume}:/seen`];
      const ended = await runSealed(['--grace=500', '--', 'bash', '-c', script], options);
      assert.equal(ended.code, 5, ended.stderr);
      const seen = await runSealed(['--', 'cat', '/seen/polite', '/seen/deaf'], options);
      assert.equal(seen.stdout, 'term\nterm\n', seen.stderr);
    } finally {
      await docker(['volume', 'rm', '--force', volume]);
    }
  });

  test('with nothing left there is no grace to wait for', async () => {
    // With the grace of ten minutes this test would not end.
    const { code } = await runSealed([
      '--grace=600000',
      '--',
      'bash',
      '-c',
      'setsid sleep infinity & exit 6',
    ]);
    assert.equal(code, 6);
  });

  test('where it is not the first process it ends nothing but itself', async () => {
    const script = 'setsid sleep 300 > /dev/null 2>&1 & echo $!; exit 4';
    const { code, stdout } = await run(bottleInit, ['--', 'sh', '-c', script]);
    assert.equal(code, 4);
    // Throws when there is no such process.
    process.kill(Number(stdout), 'SIGKILL');
  });
});
