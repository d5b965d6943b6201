import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { build, startSealed } from './guest.ts';

before(build);

const accounts = [
  'agent:x:1000:1001::/home/agent:/bin/sh',
  'odd:x:1002:1002::/home/with "quote" ä:/bin/sh',
  'linked:x:1003:1003::/home/linked:/bin/sh',
  'mounted:x:1004:1004::/mounted:/bin/sh',
  'other:x:1005:1005::/home/other:/bin/sh',
].join('\n');

/** A container in which these accounts are, and that idles. */
async function machine(options: readonly string[] = []) {
  const container = await startSealed(['idle'], options);
  const shell = async (script: string) => {
    const { code, stdout, stderr } = await container.exec(container.name, 'bash', '-ec', script);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  await shell(`printf '%s\n' '${accounts}' >> /etc/passwd`);
  return {
    shell,
    settle: (user: string) =>
      container.exec('--user=0', container.name, '/bottle-init', 'settle', `--user=${user}`),
    [Symbol.asyncDispose]: () => container[Symbol.asyncDispose](),
  };
}

describe('settle', { timeout: 120_000 }, () => {
  test('says who the user is, as --user finds them', async () => {
    await using bottle = await machine();
    for (const [user, uid, gid, home] of [
      ['agent', 1000, 1001, '/home/agent'],
      ['1000:daemon', 1000, 1, '/home/agent'],
      ['4242', 4242, 0, '/'],
      ['0', 0, 0, '/root'],
      ['odd', 1002, 1002, '/home/with "quote" ä'],
    ] as const) {
      const { code, stdout, stderr } = await bottle.settle(user);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^[^\n]*\n$/);
      assert.deepEqual(JSON.parse(stdout), { uid, gid, home });
    }
    const nobody = await bottle.settle('no-such-user');
    assert.deepEqual([nobody.code, nobody.stdout], [125, '']);
    assert.match(nobody.stderr, /^bottle-init: cannot become no-such-user: there is no such user/);
  });

  test('/tmp is there, everybody’s, and no symlink', async () => {
    await using bottle = await machine();
    await bottle.shell('rm -rf /tmp');
    assert.equal((await bottle.settle('agent')).code, 0);
    assert.equal(await bottle.shell('stat -c "%F %a %U" /tmp'), 'directory 1777 root\n');
    await bottle.shell('chmod 700 /tmp; touch /tmp/kept');
    assert.equal((await bottle.settle('agent')).code, 0);
    assert.equal(await bottle.shell('stat -c %a /tmp; ls /tmp'), '1777\nkept\n');
    await bottle.shell('rm -rf /tmp; mkdir -m 700 /elsewhere; ln -s elsewhere /tmp');
    const linked = await bottle.settle('agent');
    assert.equal(linked.code, 125);
    assert.match(linked.stderr, /^bottle-init: \/tmp is no directory of its own/);
    assert.equal(await bottle.shell('stat -c %a /elsewhere'), '700\n');
    await bottle.shell('rm /tmp; touch /tmp');
    assert.equal((await bottle.settle('agent')).code, 125);
  });

  test('localhost has an address where the image names nobody, and what it does name stays', async () => {
    await using bottle = await machine();
    // The engine mounts a file of its own there.
    await bottle.shell('umount /etc/hosts 2>/dev/null || true');
    const after = async (prepare: string) => {
      await bottle.shell(prepare);
      assert.equal((await bottle.settle('agent')).code, 0);
      return await bottle.shell('cat /etc/hosts');
    };
    const written = /^127\.0\.0\.1\tlocalhost\n::1\tlocalhost .*\n$/m;
    assert.match(await after("printf '# nobody\\n \\t\\n' >/etc/hosts"), written);
    assert.equal(await after("printf '#x\\n10.0.0.1 a\\n' >/etc/hosts"), '#x\n10.0.0.1 a\n');
  });

  test('a home that is root’s becomes the user’s, with what is root’s below it', async () => {
    await using bottle = await machine();
    await bottle.shell(`
      mkdir -p /home/agent/deep/er /home/agent/theirs; cd /home/agent; touch deep/er/file deep/suid theirs/of-root
      touch theirs/of-daemon; chown daemon:daemon theirs theirs/of-daemon; chmod 4755 deep/suid
      touch /etc/shared; ln /etc/shared deep/shared; ln -s /etc/passwd deep/link; ln -s /etc far; mknod null c 1 3`);
    const { code, stderr } = await bottle.settle('agent');
    assert.equal(code, 0, stderr);
    const found = await bottle.shell(
      `cd /home/agent; find . -printf '%P %U:%G %m\\n' | sort; stat -c %u /etc /etc/passwd`,
    );
    assert.deepEqual(found.trim().split('\n'), [
      ...['1000:1001 755', 'deep 1000:1001 755', 'deep/er 1000:1001 755', 'deep/er/file 1000:1001 644'],
      ...['deep/link 1000:1001 777', 'deep/shared 0:0 644', 'deep/suid 1000:1001 755', 'far 1000:1001 777'],
      ...[
        'null 0:0 644',
        'theirs 1:1 755',
        'theirs/of-daemon 1:1 644',
        'theirs/of-root 1000:1001 644',
        '0',
        '0',
      ],
    ]);
  });

  test('homes that are the user’s, symlinks, mounts, the system’s or not there are left alone', async () => {
    await using bottle = await machine(['--tmpfs=/mounted', '--tmpfs=/home/other/inner']);
    await bottle.shell(`
      mkdir -p /home/agent /home/target; touch /home/agent/of-root /home/target/of-root /mounted/of-root
      chown agent /home/agent; ln -s target /home/linked; touch /home/other/inner/of-root /home/other/of-root`);
    for (const user of ['agent', 'linked', 'mounted', 'daemon', 'bin', 'sys', 'games', '4242', 'odd']) {
      const { code, stderr } = await bottle.settle(user);
      assert.equal(code, 0, stderr);
    }
    const roots = `/home/agent/of-root /home/target /home/target/of-root /mounted /mounted/of-root / /usr /usr/sbin /bin /dev`;
    assert.equal((await bottle.shell(`stat -c %u ${roots}`)).replaceAll('\n', ' '), '0 '.repeat(10));
    // A mount within is another file system, the rest is not.
    assert.equal((await bottle.settle('other')).code, 0);
    const other = '/home/other /home/other/of-root /home/other/inner /home/other/inner/of-root';
    assert.equal(await bottle.shell(`stat -c %u ${other}`), '1005\n1005\n0\n0\n');
  });
});
