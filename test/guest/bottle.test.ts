import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { evaluateSeal, judgeSeal, probeArguments, sealChecks } from '../../src/gate/seal.ts';
import { run } from '../../src/process/run.ts';
import { Gate } from '../../src/gate/gate.ts';
import { loopbackNetwork } from '../gate/world.ts';
import { bottleInit, build, containerName, until } from './guest.ts';
import { Sandbox, unpackDebian } from './sandbox.ts';
import { Supervisor } from './supervisor.ts';

// At once, since it may bring runsc.
await build();

interface Held extends AsyncDisposable {
  exec(...argv: string[]): ReturnType<typeof run>;
  /** Sends the first process a signal. */
  signal(name: string): Promise<void>;
  /** Its exit status, once it has ended. */
  ended(): Promise<number>;
  logs(): Promise<string>;
}

const mounts = (supervisor: Supervisor) =>
  [
    [bottleInit, '/run/bottle-init'],
    [supervisor.directory, '/run/claude-bottle'],
  ] as const;
const control = '--control=/run/claude-bottle/control.sock';

async function container(engine: string, supervisor: Supervisor, init: readonly string[]): Promise<Held> {
  const name = containerName();
  const call = (...args: string[]) => run(engine, args, { deadlineMs: 60_000 });
  const volumes = mounts(supervisor).map(([from, to]) => `--volume=${from}:${to}:ro`);
  const image = engine === 'docker' ? 'debian:bookworm-slim' : podmanImage;
  // Podman's own choice asks for more descriptors, and other cgroups, than a machine within a machine may have.
  const limits = ['--runtime=runc', '--ulimit=nofile=1024:1024', '--ulimit=nproc=1024:1024'];
  const started = await call(
    ...[
      'run',
      '--detach',
      ...(engine === 'podman' ? limits : []),
      '--network=none',
      `--name=${name}`,
      ...volumes,
      '--entrypoint=/run/bottle-init',
    ],
    ...[image, control, ...init],
  );
  const remove = () => call('rm', '--force', name);
  if (started.code !== 0) {
    await remove();
    assert.fail(started.stderr);
  }
  return {
    exec: (...argv) => call('exec', name, ...argv),
    async signal(signal) {
      const { code, stderr } = await call('kill', `--signal=${signal}`, name);
      assert.equal(code, 0, stderr);
    },
    ended: async () => Number((await call('wait', name)).stdout),
    async logs() {
      const { stdout, stderr } = await call('logs', name);
      return stdout + stderr;
    },
    async [Symbol.asyncDispose]() {
      await remove();
    },
  };
}

let debian: Awaited<ReturnType<typeof unpackDebian>>;
before(async () => {
  debian = await unpackDebian();
});
after(async () => {
  await debian[Symbol.asyncDispose]();
});

const podmanImage = `localhost/bottle-init-test-${process.pid}:base`;
before(async () => {
  const script =
    'docker tag debian:bookworm-slim "$0" && docker save "$0" | podman load --quiet; docker rmi "$0"';
  const { code, stderr } = await run('sh', ['-c', script, podmanImage], { deadlineMs: 120_000 });
  assert.equal(code, 0, stderr);
});
after(async () => {
  await run('podman', ['rmi', '--force', podmanImage], { deadlineMs: 60_000 });
});

const places = {
  docker: (supervisor: Supervisor, init: readonly string[]) => container('docker', supervisor, init),
  podman: (supervisor: Supervisor, init: readonly string[]) => container('podman', supervisor, init),
  gVisor: (supervisor: Supervisor, init: readonly string[]): Promise<Held> =>
    Sandbox.start({
      root: debian.path,
      args: ['/run/bottle-init', control, ...init],
      mounts: mounts(supervisor),
      hostSockets: true,
    }),
};

const withoutGvisor =
  (await run('sh', ['-c', 'command -v runsc'])).code === 0
    ? false
    : 'runsc is not installed (apt-get install runsc)';

for (const [place, start] of Object.entries(places)) {
  const skip = place === 'gVisor' && withoutGvisor;
  describe(`bottle-init as a bottle’s first process, ${place}`, { timeout: 120_000, skip }, () => {
    test('the real gate’s seal holds, proven by the first process itself while its relay runs', async () => {
      await using supervisor = await Supervisor.listen();
      await using gate = await Gate.start({
        socketPath: `${supervisor.directory}/gate.sock`,
        socketMode: 0o666,
        slug: 'demo-x1y2z',
        rules: [],
        audit: { path: `${supervisor.directory}/gate.jsonl` },
        network: loopbackNetwork,
      });
      const checks = sealChecks();
      const probes = probeArguments(checks);
      await using bottle = await start(supervisor, [
        '--relay=127.0.0.1:3128=/run/claude-bottle/gate.sock',
        ...probes.map((probe) => `--probe=${probe}`),
        ...['--user=www-data', '--', 'sleep', 'infinity'],
      ]);
      await supervisor.hears('ready');
      const observed = evaluateSeal(checks, supervisor.heard.join('\n'));
      assert.deepEqual(
        observed.filter(({ passed }) => !passed),
        [],
      );
      assert.equal(supervisor.heard.length, 7);
      // The same through a program of its own, which is how a running bottle is looked at.
      const began = performance.now();
      const { stdout } = await bottle.exec('/run/bottle-init', 'probe', ...probes);
      const { checks: passed } = judgeSeal({ gate, slug: 'demo-x1y2z', checks, report: stdout, began });
      assert.equal(passed, 6);
    });

    test('nothing of the command runs before the go, and further programs do', async () => {
      await using supervisor = await Supervisor.listen();
      await using bottle = await start(supervisor, ['--', 'sh', '-c', 'touch /ran; exec sleep infinity']);
      await supervisor.hears('ready');
      const held = await bottle.exec(
        'sh',
        '-c',
        '[ ! -e /ran ] || echo ran; cat /proc/1/cmdline | tr "\\0" "\\n" | head -1',
      );
      assert.match(held.stdout, /^\/run\/bottle-init\n$/);
      await supervisor.go();
      await supervisor.hears('started');
      await until(async () => (await bottle.exec('sh', '-c', '[ -e /ran ]')).code === 0 || undefined);
    });

    for (const user of [['--user=www-data'], ['--user=root', '--keep-caps=chown,kill'], []]) {
      test(`the secret environment is the command’s alone (${user.join(' ') || 'no user'})`, async () => {
        await using supervisor = await Supervisor.listen();
        const script =
          'echo "user $(id -u) secret $SECRET"; tr "\\0" "\\n" < /proc/1/environ | grep SECRET; exit 4';
        await using bottle = await start(supervisor, [...user, '--', 'sh', '-c', script]);
        await supervisor.go({ SECRET: 'told-in-the-go' });
        assert.equal((await supervisor.hears('exited')).status, 4);
        const found = await bottle.exec('sh', '-c', 'cat /proc/1/environ | tr "\\0" "\\n" | grep -c SECRET');
        assert.equal(found.stdout, '0\n', found.stderr);
        await supervisor.send('end\n');
        assert.equal(await bottle.ended(), 4);
        const uid = user[0] === '--user=www-data' ? 33 : 0;
        assert.match(await bottle.logs(), new RegExp(`user ${uid} secret told-in-the-go\\n`));
        assert.doesNotMatch(await bottle.logs(), /SECRET=/);
      });
    }

    test('the command finds nobody on the control socket', async () => {
      await using supervisor = await Supervisor.listen();
      const script =
        'use IO::Socket::UNIX; print IO::Socket::UNIX->new(Peer => "/run/claude-bottle/control.sock") ? "in" : "out", "\\n"';
      await using bottle = await start(supervisor, ['--user=www-data', '--', 'perl', '-e', script]);
      await supervisor.go();
      await supervisor.hears('exited');
      assert.equal(await bottle.logs(), 'out\n');
      assert.equal(supervisor.connections, 1);
    });

    test('what the command left behind is ended, and what came from outside lives on', async () => {
      await using supervisor = await Supervisor.listen();
      const left =
        'setsid sh -c "trap \\"\\" TERM; while :; do sleep 1; done" & setsid sleep 1001 & sleep 0.3; exit 3';
      await using bottle = await start(supervisor, ['--grace=200', '--', 'sh', '-c', left]);
      await supervisor.go();
      await supervisor.hears('started');
      const outside = bottle.exec('sh', '-c', 'sleep 1002 & touch /there; wait; echo ended');
      await until(async () => (await bottle.exec('sh', '-c', '[ -e /there ]')).code === 0 || undefined);
      assert.equal((await supervisor.hears('exited')).status, 3);
      const list = 'for p in /proc/[0-9]*; do tr "\\0" " " < $p/cmdline; echo; done';
      const { stdout } = await bottle.exec('sh', '-c', list);
      assert.match(stdout, /^sleep 1002 $/m);
      assert.doesNotMatch(stdout, /^sleep 1001|^sh -c trap/m);
      await supervisor.send('end\n');
      assert.equal(await bottle.ended(), 3);
      await outside;
    });

    test('it lingers through SIGINT, and SIGTERM ends it with the command’s status', async () => {
      await using supervisor = await Supervisor.listen();
      await using bottle = await start(supervisor, ['--', 'sh', '-c', 'exit 6']);
      await supervisor.go();
      await supervisor.hears('exited');
      await bottle.signal('INT');
      await bottle.signal('HUP');
      assert.equal((await bottle.exec('echo', 'here')).stdout, 'here\n');
      await bottle.signal('TERM');
      assert.equal(await bottle.ended(), 6);
    });

    test('when the supervisor dies before the go nothing ever runs', async () => {
      await using supervisor = await Supervisor.listen();
      await using bottle = await start(supervisor, ['--', 'echo', 'ran']);
      await supervisor.hears('ready');
      await supervisor.hangUp();
      assert.equal(await bottle.ended(), 125);
      assert.equal(await bottle.logs(), 'bottle-init: not started: the control connection ended\n');
    });

    test('when the supervisor dies while the command runs, everything ends with it', async () => {
      await using supervisor = await Supervisor.listen();
      const script = 'until [ -e /stop ]; do sleep 0.02; done; exit 8';
      await using bottle = await start(supervisor, ['--', 'sh', '-c', script]);
      await supervisor.go();
      await supervisor.hears('started');
      await supervisor.hangUp();
      assert.equal((await bottle.exec('touch', '/stop')).code, 0);
      assert.equal(await bottle.ended(), 8);
    });
  });
}

describe('bottle-init in gVisor', { timeout: 60_000, skip: withoutGvisor }, () => {
  test('without --host-uds no socket of the host can be reached, and nothing starts', async () => {
    await using supervisor = await Supervisor.listen();
    await using bottle = await Sandbox.start({
      root: debian.path,
      args: ['/run/bottle-init', control, '--', 'echo', 'ran'],
      mounts: mounts(supervisor),
      hostSockets: false,
    });
    assert.equal(await bottle.ended(), 125);
    assert.match(await bottle.logs(), /^bottle-init: cannot connect to \S+: Operation not permitted\n$/);
  });
});

test(
  'a command that multiplies is ended too, before or with everything else',
  { timeout: 60_000 },
  async () => {
    await using supervisor = await Supervisor.listen();
    const bomb =
      'use POSIX; $SIG{TERM} = "IGNORE"; for (1 .. 8) { fork or do { setsid; while (1) { fork and exit } } } sleep 1';
    await using bottle = await container('docker', supervisor, ['--grace=100', '--', 'perl', '-e', bomb]);
    await supervisor.go();
    await supervisor.hears('exited');
    const { stdout, code } = await bottle.exec('sh', '-c', 'cat /proc/[0-9]*/stat | grep -c "(perl) [^Z]"');
    assert.equal(stdout, '0\n', String(code));
    await supervisor.send('end\n');
    assert.equal(await bottle.ended(), 0);
  },
);
