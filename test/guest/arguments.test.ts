import assert from 'node:assert/strict';
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../../src/process/run.ts';
import { bottleInit, build, built, temporary } from './guest.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

before(build);

describe('bottle-init and its arguments', { timeout: 60_000 }, () => {
  const refused: readonly (readonly [args: string[], words: RegExp])[] = [
    [[], /--: needs a command after it/],
    [['--'], /--: needs a command after it/],
    [['ls'], /ls: unknown option; options go before --/],
    [['--frobnicate', '--', 'true'], /--frobnicate: unknown option/],
    [['--user', '--', 'true'], /--user: needs a value/],
    [['--user=', '--', 'true'], /--user=: needs a value/],
    [['--user=a', '--user=b', '--', 'true'], /--user=b: given twice/],
    [['--keep-home=1', '--', 'true'], /takes no value/],
    [['--workdir=here', '--', 'true'], /absolute path/],
    [['--keep-caps=flying', '--', 'true'], /no such capability/],
    [['--keep-caps=none', '--drop-caps', '--', 'true'], /against another/],
    [['--grace=600001', '--', 'true'], /at most 600000/],
    [['--relay=0.0.0.0:3128=/s', '--', 'true'], /127\.0\.0\.1:PORT or \[::1\]:PORT/],
    [['--relay=127.0.0.1:0=/s', '--', 'true'], /1 to 65535/],
    [['--relay=127.0.0.1:65536=/s', '--', 'true'], /1 to 65535/],
    [['--relay=127.0.0.1:1=s', '--', 'true'], /absolute path/],
    [['--relay=127.0.0.1:1', '--', 'true'], /LISTEN=SOCKET/],
    [[`--relay=127.0.0.1:1=/${'s'.repeat(107)}`, '--', 'true'], /107 bytes/],
    [['--relay=127.0.0.1:1=/s', '--relay=127.0.0.1:1=/t', '--', 'true'], /listen on one port/],
    [['exec', '--relay=127.0.0.1:1=/s', '--', 'true'], /unknown option/],
    [['exec', '--grace=1', '--', 'true'], /unknown option/],
    [['exec', '--control=/s', '--', 'true'], /unknown option/],
    [['--control=s', '--', 'true'], /absolute path/],
    [[`--control=/${'s'.repeat(107)}`, '--', 'true'], /107 bytes/],
    [['--control=/s', '--control=/t', '--', 'true'], /given twice/],
    [['--probe=a=tcp:1.1.1.1:1', '--', 'true'], /--probe: needs --control/],
    [['--control=/s', '--probe=a', '--', 'true'], /NAME=ATTEMPT/],
    [['--control=/s', '--probe==tcp:1.1.1.1:1', '--', 'true'], /1 to 64 bytes/],
    [['--control=/s', '--probe=a=x', '--probe=a=y', '--', 'true'], /two probes have one name/],
    [
      ['--control=/s', ...Array.from({ length: 17 }, (_, i) => `--probe=p${i}=x`), '--', 'true'],
      /more than 16 probes/,
    ],
    [['--session=window', '--', 'true'], /a session is pipes or terminal/],
    [['--session=pipes', '--session=pipes', '--', 'true'], /given twice/],
    [['exec', '--tied', '--session=pipes', '--', 'true'], /--tied: not with --session/],
    [['--tied', '--session=pipes', '--', 'true'], /--tied: unknown option/],
    [['idle', '--user=0'], /--user=0: idle takes no arguments/],
    [['unpack'], /unpack: needs one absolute path/],
    [['archive', 'here'], /archive: needs one absolute path/],
    [['settle'], /settle: needs --user/],
    [['settle', '--user='], /settle: needs --user/],
    [['settle', '--user', 'a', 'b'], /settle: needs --user/],
    [['unpack', 'here'], /unpack: needs one absolute path/],
    [['unpack', '/tmp', '/tmp'], /unpack: needs one absolute path/],
    [['probe'], /needs NAME=ATTEMPT/],
    [['probe', 'a=x', '--help'], /a probe is NAME=ATTEMPT/],
    [['probe', 'a b=x'], /plain ASCII/],
  ];
  for (const [args, words] of refused) {
    const shown = args.join(' ').slice(0, 60);
    test(`"${shown}" is refused with 125 and one line that says why`, async () => {
      const { code, stdout, stderr } = await run(bottleInit, args);
      assert.equal(code, 125);
      assert.equal(stdout, '');
      assert.match(stderr, words);
      assert.match(stderr, /^bottle-init: [^\n]*\n$/);
    });
  }

  test('what is after -- is the command, whatever it looks like', async () => {
    const { stdout } = await run(bottleInit, ['--', 'printf', '%s|', '--', '--user', 'exec', '']);
    assert.equal(stdout, '--|--user|exec||');
  });

  test('control characters from outside do not reach the terminal', async () => {
    const { code, stderr } = await run(bottleInit, ['--', '/no\u001b]0;owned\u0007\nsuch']);
    assert.equal(code, 127);
    assert.equal(stderr, 'bottle-init: cannot run /no?]0;owned??such: No such file or directory\n');
  });

  test('random command lines, users and account files break no promise of the parsers', async () => {
    const seed = String(Date.now() % 2 ** 31);
    const { code, stdout, stderr } = await run(built.fuzz, [seed, '300000'], { deadlineMs: 60_000 });
    assert.equal(code, 0, `fuzz ${seed}: ${stderr}`);
    const accepted =
      /^(\d+) command lines and (\d+) accounts accepted, (\d+) attempts and (\d+) addresses, (\d+) frames, (\d+) headers and (\d+) records\n$/.exec(
        stdout,
      );
    assert.ok(accepted?.slice(1).every((count) => Number(count) > 1000) === true, stdout);
  });
});

describe('bottle-init as it is built', () => {
  test('the same sources give the same bytes in another directory', async () => {
    await using directory = await temporary();
    await cp(join(root, 'guest'), join(directory.path, 'guest'), {
      recursive: true,
      filter: (path) => !path.endsWith('/dist'),
    });
    await mkdir(join(directory.path, 'script'));
    for (const name of ['build-guest', 'lib.sh']) {
      await cp(join(root, 'script', name), join(directory.path, 'script', name));
    }
    const { code, stderr } = await run(join(directory.path, 'script/build-guest'), [], {
      deadlineMs: 120_000,
    });
    assert.equal(code, 0, stderr);
    const { stdout: ours } = await run('sha256sum', ['bottle-init-amd64', 'bottle-init-arm64'], {
      cwd: join(root, 'guest/dist'),
    });
    const { stdout: theirs } = await run('sha256sum', ['bottle-init-amd64', 'bottle-init-arm64'], {
      cwd: join(directory.path, 'guest/dist'),
    });
    assert.equal(theirs, ours);
  });

  for (const architecture of ['amd64', 'arm64'] as const) {
    test(`${architecture}: static, position-independent, hardened, under 200 kB`, async () => {
      const { stdout: headers } = await run('readelf', [
        '--wide',
        '--headers',
        '--dynamic',
        built[architecture],
      ]);
      assert.match(headers, /Type: +DYN/);
      assert.doesNotMatch(headers, /INTERP|NEEDED/);
      assert.match(headers, /GNU_RELRO/);
      assert.match(headers, /BIND_NOW|NOW/);
      assert.match(headers, /GNU_STACK +\S+ \S+ \S+ \S+ \S+ RW /);
      const { stdout: size } = await run('stat', ['--format=%s', built[architecture]]);
      assert.ok(Number(size) < 200_000, size);
    });
  }

  test('arm64 runs commands, finds users and passes statuses on (under qemu)', async () => {
    const env = { HOME: '/elsewhere' };
    const script = 'echo "$HOME"; exit 7';
    const ran = await run('qemu-aarch64', [built.arm64, '--user=0', '--', 'sh', '-c', script], { env });
    assert.deepEqual([ran.code, ran.stdout], [7, '/root\n'], ran.stderr);
    const killed = await run('qemu-aarch64', [built.arm64, '--', 'sh', '-c', 'kill -KILL $$']);
    assert.equal(killed.code, 137, killed.stderr);
    const missing = await run('qemu-aarch64', [built.arm64, 'exec', '--', 'no-such-program']);
    assert.equal(missing.code, 127, missing.stderr);
  });
});
