import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { dataFrames, endFrame, frame, sizeFrame } from './frames.ts';
import { build, built, containerName, docker, Running, sealed, startSealed, temporary } from './guest.ts';
import { goMessage, Supervisor } from './supervisor.ts';

before(build);

/** bottle-init on this host, with a session and a control connection. */
function held(
  supervisor: Supervisor,
  kind: string,
  script: string,
  options: readonly string[] = [],
): Running {
  const args = [
    `--control=${supervisor.socketPath}`,
    `--session=${kind}`,
    ...options,
    '--',
    'bash',
    '-c',
    script,
  ];
  return new Running(built.sanitized, args);
}

/** A session in a container: as its first process, or below a shell that is. */
function contained(init: readonly string[], isFirst = true): Running {
  const args = sealed(containerName(), ['-i'], init);
  if (isFirst) return new Running('docker', args);
  const image = args.indexOf('debian:bookworm-slim') + 1;
  const shell = ['sh', '-c', '/bottle-init "$@"; echo "status $?"', 'sh'];
  const before = args.slice(0, image).filter((word) => word !== '--entrypoint=/bottle-init');
  return new Running('docker', [...before, ...shell, ...args.slice(image)]);
}

describe('a session and the handshake', { timeout: 60_000 }, () => {
  test('frames wait for the go, and the size is there from the beginning', async () => {
    await using supervisor = await Supervisor.listen();
    await using init = held(supervisor, 'terminal', 'stty size; read line; echo "$SECRET $line"; exit 7');
    init.child.stdin!.write(Buffer.concat([sizeFrame(33, 99), dataFrames('early\n')]));
    await supervisor.hears('ready');
    await sleep(200);
    assert.equal(init.output, '');
    await supervisor.go({ SECRET: 'from the host' });
    await supervisor.hears('started');
    assert.equal((await supervisor.hears('exited')).status, 7);
    // All that was said has been passed on before that.
    assert.match(init.output, /33 99\r\n(early\r\n)?from the host early\r\n$/);
    assert.equal(init.child.exitCode, null);
    await supervisor.send('end\n');
    assert.equal(await init.ended, 7);
  });

  for (const kind of ['pipes', 'terminal']) {
    test(`with ${kind}, standard input that ends before the go ends bottle-init with 125`, async () => {
      for (const bytes of [Buffer.alloc(0), dataFrames('early\n')]) {
        await using supervisor = await Supervisor.listen();
        await using init = held(supervisor, kind, 'echo ran');
        await supervisor.hears('ready');
        init.child.stdin!.end(bytes);
        assert.equal(await init.ended, 125);
        assert.equal(init.output, 'bottle-init: not started: standard input ended\n');
      }
    });

    test(`with ${kind}, standard input that ends later is reported with the status, and nothing lingers`, async () => {
      await using supervisor = await Supervisor.listen();
      await using init = held(supervisor, kind, 'trap "exit 9" HUP TERM; echo there; sleep 300 & wait');
      await supervisor.go();
      await init.says('there');
      init.child.stdin!.end();
      assert.equal(await init.ended, 9);
      assert.deepEqual(supervisor.heard.at(-1), '{"event":"exited","status":9}');
    });

    test(`with ${kind}, what outlives the command is ended before exited, and lingering needs no input`, async () => {
      await using supervisor = await Supervisor.listen();
      const script =
        'setsid sleep 300 & setsid bash -c "trap : TERM; while :; do sleep 0.1; done" & echo left $!; exit 3';
      await using init = held(supervisor, kind, script, ['--grace=200']);
      await supervisor.go();
      await supervisor.hears('exited');
      const left = Number(/left (\d+)/.exec(init.output)?.[1]);
      assert.throws(() => process.kill(left, 0));
      init.child.stdin!.end();
      await sleep(200);
      assert.equal(init.child.exitCode, null);
      await supervisor.send('end\n');
      assert.equal(await init.ended, 3);
    });
  }

  test('a program that cannot be run is told of', async () => {
    await using supervisor = await Supervisor.listen();
    const args = [`--control=${supervisor.socketPath}`, '--session=terminal', '--', 'no-such-program'];
    await using init = new Running(built.sanitized, args);
    await supervisor.go();
    assert.equal((await supervisor.hears('unrunnable')).status, 127);
    assert.equal(await init.ended, 127);
  });
});

describe('a session in a bottle', { timeout: 120_000 }, () => {
  const report = 'id -un; tty; stty size; stat -c %U "$(tty)"; echo opened > "$(tty)"; cat; exit 5';
  for (const isFirst of [true, false]) {
    const place = isFirst ? 'as its first process' : 'below another process';
    test(`the terminal belongs to the user, and can be opened by name, ${place}`, async () => {
      const init = ['--session=terminal', '--user=www-data', '--', 'bash', '-c', report];
      await using command = contained(init, isFirst);
      command.child.stdin!.write(Buffer.concat([sizeFrame(20, 70), endFrame]));
      const code = await command.ended;
      const expected = 'www-data\r\n/dev/pts/0\r\n20 70\r\nwww-data\r\nopened\r\n';
      assert.equal(command.output.replaceAll('^D\b\b', ''), expected + (isFirst ? '' : 'status 5\n'));
      assert.equal(code, isFirst ? 5 : 0);
    });

    for (const kind of ['pipes', 'terminal']) {
      test(`nobody there any more ends the bottle of ${kind}, ${place}`, async () => {
        const script = 'trap "" HUP TERM; setsid sleep 300 & echo there; sleep 300';
        const init = ['--grace=200', `--session=${kind}`, '--user=www-data', '--', 'bash', '-c', script];
        await using command = contained(init, isFirst);
        await command.says('there');
        command.child.stdin!.end();
        assert.equal(await command.ended, isFirst ? 137 : 0);
        assert.match(command.output, isFirst ? /there/ : /status 137/);
      });
    }
  }

  test('exec takes the user, the directory and variables from a socket, which are nowhere else', async () => {
    await using directory = await temporary();
    await chmod(directory.path, 0o755);
    const server = createServer((socket) => socket.end(goMessage(['SECRET=told', 'HOME=/told'])));
    const path = join(directory.path, 'variables.sock');
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await chmod(path, 0o666);
    try {
      await using container = await startSealed(['idle'], [`--volume=${directory.path}:/told`]);
      for (const kind of ['pipes', 'terminal']) {
        const script =
          'echo "$SECRET $HOME $PWD $(id -un)"; grep -c SECRET /proc/$PPID/environ; read x; echo "$x"';
        const options = [
          `--session=${kind}`,
          '--variables=/told/variables.sock',
          '--user=www-data',
          '--workdir=/tmp',
        ];
        const exec = ['exec', '-i', container.name, '/bottle-init', 'exec', ...options];
        await using command = new Running('docker', [...exec, '--', 'bash', '-c', script]);
        command.child.stdin!.write(
          Buffer.concat([frame('w', Buffer.from([0, 24, 0, 80])), dataFrames('typed\n')]),
        );
        assert.equal(await command.ended, 0, command.output);
        assert.match(command.output, /told \/told \/tmp www-data/);
        assert.match(command.output, /typed/);
        assert.doesNotMatch(command.output, /^[1-9]\r?$/m);
      }
      const mark = '271828';
      const run = ['exec', '-i', container.name, '/bottle-init', 'exec', '--session=pipes', '--'];
      const script = `setsid sleep ${mark} & echo there; sleep ${mark}`;
      await using command = new Running('docker', [...run, 'bash', '-c', script]);
      await command.says('there');
      command.child.stdin!.end();
      assert.equal(await command.ended, 137);
      const left = await container.exec(container.name, 'sh', '-c', 'cat /proc/[0-9]*/cmdline');
      assert.ok(!left.stdout.includes(mark), left.stdout);
    } finally {
      server.close();
    }
  });

  test('without a /dev/ptmx there is one line that says so', async () => {
    const { code, stderr } = await docker(
      sealed(
        containerName(),
        ['-i', '--user=0'],
        ['--', 'sh', '-c', 'rm /dev/ptmx; exec /bottle-init exec --session=terminal -- true'],
      ),
    );
    assert.equal(code, 125);
    assert.match(
      stderr,
      /^bottle-init: cannot make a terminal with \/dev\/ptmx: No such file or directory\n$/,
    );
  });
});
