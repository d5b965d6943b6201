import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { build, docker, runSealed, startSealed } from './guest.ts';

const passwd = [
  'root:x:0:0:root:/root:/bin/bash',
  'broken:x:many:1:::',
  'node:x:1000:1001:Node,,,:/home/node:/bin/sh',
  'twin:x:1000:7::/home/twin:/bin/sh',
  '4000:x:1003:1003::/home/digits:/bin/sh',
  'odd:x:1004:1004',
  '',
].join('\n');
const group = [
  'root:x:0:',
  'disk:x:6:root,other',
  'node:x:1001:',
  'docker:x:999:other,node',
  'wheel:x:10:node',
  'again:x:10:node',
  '',
].join('\n');
const report = 'echo "$(id -u):$(id -g) groups=$(id -G) home=$HOME pwd=$PWD path=$PATH"';

let container: Awaited<ReturnType<typeof startSealed>>;
before(async () => {
  await build();
  container = await startSealed(['--', 'sleep', 'infinity']);
  const write = 'printf %s "$PASSWD" > /etc/passwd; printf %s "$GROUP" > /etc/group';
  const options = ['--env=PASSWD', '--env=GROUP', container.name];
  const wrote = await docker(['exec', ...options, 'sh', '-c', write], {
    env: { PASSWD: passwd, GROUP: group },
  });
  assert.equal(wrote.code, 0, wrote.stderr);
});
after(async () => {
  await container[Symbol.asyncDispose]();
});

function asOurs(spec: string, ...command: string[]) {
  return container.exec(container.name, '/bottle-init', 'exec', `--user=${spec}`, '--', ...command);
}

describe('bottle-init and the image’s user', { timeout: 60_000 }, () => {
  for (const spec of [
    'root',
    '0',
    'node',
    '1000',
    'node:docker',
    '1000:999',
    '1000:4242',
    '4242',
    '4242:4243',
    '4000',
    ':999',
    'node:',
  ]) {
    test(`${spec}: user, groups, HOME and directory are those that the engine would give`, async () => {
      const theirs = await container.exec(`--user=${spec}`, container.name, 'sh', '-c', report);
      const ours = await asOurs(spec, 'sh', '-c', report);
      assert.equal(theirs.code, 0, theirs.stderr);
      assert.equal(ours.stdout, theirs.stdout, ours.stderr);
    });
  }

  for (const [spec, words] of [
    ['nobody-here', /no such user/],
    ['broken', /no such user/],
    ['node:no-group', /no such group/],
    ['2147483648', /2147483647/],
    ['1:2147483648', /2147483647/],
    ['-1', /no such user/],
  ] as const) {
    test(`${spec} is refused with 125`, async () => {
      const { code, stderr } = await asOurs(spec, 'true');
      assert.equal(code, 125);
      assert.match(stderr, words);
    });
  }

  test('an entry without a home has /', async () => {
    const { stdout, stderr } = await asOurs('odd', 'sh', '-c', 'echo "$(id -u) $HOME"');
    assert.equal(stdout, '1004 /\n', stderr);
  });

  test('--keep-home leaves HOME alone, and --workdir is entered as the user', async () => {
    const options = ['exec', '--env=HOME=/mine', container.name, '/bottle-init', 'exec', '--user=node'];
    const kept = await docker([
      ...options,
      '--keep-home',
      '--workdir=/usr',
      '--',
      'sh',
      '-c',
      'echo $HOME $PWD',
    ]);
    assert.equal(kept.stdout, '/mine /usr\n', kept.stderr);
    const closed = await docker([...options, '--workdir=/root', '--', 'true']);
    assert.deepEqual(
      [closed.code, closed.stderr],
      [125, 'bottle-init: cannot go to /root: Permission denied\n'],
    );
  });

  test('the user has no capabilities, no new privileges, and no way back to root', async () => {
    const script =
      'grep -E "^(Cap|NoNewPrivs)" /proc/self/status; perl -e \'$< = 0; $> = 0; print "uid $< $>\\n"\'';
    const { stdout, stderr } = await container.exec(
      container.name,
      ...['/bottle-init', 'exec', '--user=node', '--keep-caps=chown,kill', '--', 'sh', '-c', script],
    );
    const none = '\t0000000000000000\n';
    assert.match(stdout, new RegExp(`CapInh:${none}CapPrm:${none}CapEff:${none}`), stderr);
    assert.match(stdout, /CapBnd:\t0000000000000021\n/);
    assert.match(stdout, /NoNewPrivs:\t1\n/);
    assert.match(stdout, /uid 1000 1000\n/);
  });

  test('root keeps the capabilities that it is left, and no others', async () => {
    const { stdout, stderr } = await container.exec(
      container.name,
      ...['/bottle-init', 'exec', '--user=root', '--drop-caps', '--', 'grep', '^Cap', '/proc/self/status'],
    );
    assert.equal(stdout.match(/0000000000000000/g)?.length, 5, stdout + stderr);
  });

  test('the user may open its standard streams by name', async () => {
    const { stdout, stderr } = await asOurs(
      'node',
      'sh',
      '-c',
      'echo out > /dev/stdout; echo err > /dev/stderr',
    );
    assert.deepEqual([stdout, stderr], ['out\n', 'err\n']);
  });

  test('who is not root cannot become somebody else, and may stay who it is', async () => {
    const plain = ['--user=1000:1001', container.name, '/bottle-init', 'exec'];
    const stays = await container.exec(...plain, '--user=1000:1001', '--', 'id', '-u');
    assert.deepEqual([stays.code, stays.stdout], [0, '1000\n'], stays.stderr);
    const other = await container.exec(...plain, '--user=4242', '--', 'id', '-u');
    assert.equal(other.code, 125);
    assert.match(other.stderr, /needs root with SETGID/);
  });

  test('missing account files: numbers still work, names do not', async () => {
    await using bare = await startSealed(['--', 'sleep', 'infinity']);
    await bare.exec(bare.name, 'rm', '/etc/passwd', '/etc/group');
    const number = await bare.exec(bare.name, '/bottle-init', 'exec', '--user=5:6', '--', 'sh', '-c', report);
    assert.match(number.stdout, /^5:6 groups=6 home=\/ /, number.stderr);
    const name = await bare.exec(bare.name, '/bottle-init', 'exec', '--user=root', '--', 'id');
    assert.equal(name.code, 125);
  });

  test('an account file that is no regular file is refused rather than waited for', async () => {
    // In one go: the engine itself would wait for it.
    const script = 'rm /etc/group; mkfifo /etc/group; exec /bottle-init exec --user=5 -- id';
    const { code, stderr } = await runSealed(['--', 'sh', '-c', script]);
    assert.deepEqual([code, stderr], [125, 'bottle-init: /etc/group is not a regular file\n']);
  });

  test('the first process becomes the user too, with all capabilities dropped but the two it needs', async () => {
    const script = 'grep -E "^(Uid|Gid|CapPrm|NoNewPrivs)" /proc/1/status; cat /proc/1/maps | wc -l';
    const options = [
      '--cap-drop=ALL',
      '--cap-add=SETUID',
      '--cap-add=SETGID',
      '--security-opt=no-new-privileges',
    ];
    const { stdout, stderr } = await runSealed(['--user=www-data', '--', 'sh', '-c', script], options);
    assert.match(
      stdout,
      /Uid:\t33\t33\t33\t33\nGid:\t33\t33\t33\t33\nCapPrm:\t0+\nNoNewPrivs:\t1\n0\n$/,
      stderr,
    );
    assert.match(stderr, /maps: Permission denied/);
  });

  test('it does not run as a set-uid program', async () => {
    const script = 'cp /bottle-init /usr/bin/suid && chmod 4755 /usr/bin/suid';
    const copied = await container.exec(container.name, 'sh', '-c', script);
    assert.equal(copied.code, 0, copied.stderr);
    const { code, stderr } = await container.exec(
      '--user=1000',
      container.name,
      '/usr/bin/suid',
      'exec',
      '--',
      'id',
    );
    assert.deepEqual([code, stderr], [125, 'bottle-init: will not run with set-uid or file capabilities\n']);
  });
});
