import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Made, mebi, onStage, said } from '../stage.ts';
import { openStage, ways } from './stage.ts';

// What root of the bottle reads of its own limits. Control groups are of the first or the second version.
const limitFile: Readonly<Record<string, string>> = {
  memory: 'cat /sys/fs/cgroup/memory.max || cat /sys/fs/cgroup/memory/memory.limit_in_bytes',
  swap: 'cat /sys/fs/cgroup/memory.swap.max || cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes',
  pids: 'cat /sys/fs/cgroup/pids.max || cat /sys/fs/cgroup/pids/pids.max',
  cpu: 'cat /sys/fs/cgroup/cpu.max || (cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us)',
};

for (const way of ways) {
  onStage(`a bottle made with ${way}`, { open: () => openStage(way) }, (stage) => {
    let made: Made;
    before(async () => {
      const image = await stage().image(
        'RUN useradd --uid 1234 --create-home dev\nUSER dev\nENTRYPOINT ["/bin/false"]',
      );
      made = await stage().run({ ...image, env: { PUBLIC: 'a "b" $c', EMPTY: '' } });
    });
    after(async () => {
      await made[Symbol.asyncDispose]();
    });
    const ask = (script: string, as?: 'root') => said(made.bottle, script, as);

    test('runs everything as the image’s user, without any capability', async () => {
      assert.equal(await ask('id -u; id -g; echo $HOME'), '1234\n1234\n/home/dev');
      const all = await ask('cat /proc/[0-9]*/status');
      assert.deepEqual(new Set(all.match(/^Uid:.*$/gm)), new Set(['Uid:\t1234\t1234\t1234\t1234']));
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
        const values = new Set(all.match(new RegExp(`^${set}:.*$`, 'gm')));
        assert.deepEqual(values, new Set([`${set}:\t0000000000000000`]));
      }
    });

    test('lets no process gain privileges, and filters its system calls', async () => {
      for (const as of ['image', 'root'] as const) {
        const status = await said(made.bottle, 'cat /proc/self/status', as);
        assert.match(status, /^NoNewPrivs:\t1$/m);
        assert.match(status, /^Seccomp:\t2$/m);
      }
    });

    test('leaves root seven capabilities', async () => {
      const status = await ask('cat /proc/self/status', 'root');
      // chown, dac_override, fowner, fsetid, kill, setgid, setuid: bits 0, 1 and 3 to 7.
      for (const set of ['CapPrm', 'CapEff', 'CapBnd']) {
        assert.match(status, new RegExp(`^${set}:\\t00000000000000fb$`, 'm'));
      }
    });

    test('has the memory, swap, processes and processors that were asked for', async () => {
      const limit = (of: string) => ask(`(${limitFile[of]}) 2>/dev/null`);
      assert.equal(await limit('memory'), String(512 * mebi));
      // The old one counts memory and swap together.
      assert.ok(['0', String(512 * mebi)].includes(await limit('swap')));
      assert.equal(await limit('pids'), '200');
      assert.equal((await limit('cpu')).replace('\n', ' '), '150000 100000');
    });

    test('limits open files, cores and the size of one file', async () => {
      const limits = await ask('cat /proc/self/limits');
      assert.match(limits, /^Max open files +16384 +16384 /m);
      assert.match(limits, /^Max core file size +0 +0 /m);
      assert.match(limits, new RegExp(`^Max file size +${2048 * mebi} +${2048 * mebi} `, 'm'));
    });

    test('has no network interface but loopback, and names for itself', async () => {
      assert.equal(await ask('ls /sys/class/net'), 'lo');
      assert.equal(await ask('cat /proc/net/route | wc -l'), '1');
      const { stdout } = await made.bottle.exec(['getent', 'hosts', 'localhost']);
      assert.match(stdout, /^(127\.0\.0\.1|::1) /);
      assert.equal(await ask('hostname'), made.spec.slug);
      assert.match(await ask('getent hosts $(hostname)'), /^(127\.|::1)/);
    });

    test('cannot change what of ours is mounted in it, root included', async () => {
      for (const path of ['/run/bottle-init', '/run/claude-bottle/x', '/run/x']) {
        const { code } = await made.bottle.exec(['sh', '-c', `echo x >${path}`]);
        assert.notEqual(code, 0, path);
      }
      for (const path of ['/run/bottle-init', '/run/claude-bottle/x']) {
        const { code, stderr } = await made.bottle.exec(['sh', '-c', `echo x >${path}`], { as: 'root' });
        assert.notEqual(code, 0, path);
        assert.match(stderr, /Read-only file system/);
      }
      const mounts = await ask('cat /proc/mounts');
      assert.match(mounts, /^tmpfs \/run tmpfs rw,nosuid,nodev,noexec,/m);
      assert.match(mounts, /^\S+ \/run\/bottle-init \S+ ro,/m);
      assert.match(mounts, /^\S+ \/run\/claude-bottle \S+ ro,/m);
      assert.match(mounts, /^shm \/dev\/shm tmpfs /m);
      // /tmp is on the disk that is limited, not in memory.
      assert.doesNotMatch(mounts, /^\S+ \/tmp /m);
    });

    test('has its variables, whatever is in them', async () => {
      assert.equal(await ask('echo "$PUBLIC,$EMPTY,${EMPTY+set}"'), 'a "b" $c,,set');
    });
  });
}
