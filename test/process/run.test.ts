import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { CommandMissing, DeadlineExceeded, Interrupted } from '../../src/process/errors.ts';
import { run, stream } from '../../src/process/run.ts';
import { temporary, until } from './child.ts';

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return true;
};

/** Also true for a zombie that nobody has looked at yet. */
const isGone = async (pid: number) =>
  !isAlive(pid) || /^\d+ \(.*\) Z/.test(await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '0 () Z'));

/** A shell that starts a grandchild deaf to polite signals, writes its pid down, and goes on with `then`. */
const deafGrandchild = (pidFile: string, then: string) => [
  '-c',
  `(trap '' TERM; echo $BASHPID > "${pidFile}.new"; mv "${pidFile}.new" "${pidFile}"; exec sleep 300) >/dev/null 2>&1 & ${then}`,
];

const pidIn = async (path: string) => Number(await readFile(path, 'utf8'));

describe('run', () => {
  test('gives exit code and both streams', async () => {
    const result = await run('sh', ['-c', 'echo out; echo err >&2; exit 7']);
    assert.deepEqual(result, { code: 7, stdout: 'out\n', stderr: 'err\n' });
  });

  test('passes arguments untouched by any shell', async () => {
    const odd = ['$(id)', 'a b', '', "'", '*', '\n'];
    const { stdout } = await run(process.execPath, [
      '-e',
      'console.log(JSON.stringify(process.argv.slice(1)))',
      '--',
      ...odd,
    ]);
    assert.deepEqual(JSON.parse(stdout), odd);
  });

  test('lays the environment over ours, and undefined removes', async () => {
    process.env.CLAUDE_BOTTLE_TEST_REMOVED = 'here';
    try {
      const { stdout } = await run('env', [], {
        env: { CLAUDE_BOTTLE_TEST_ADDED: '1', CLAUDE_BOTTLE_TEST_REMOVED: undefined },
      });
      assert.match(stdout, /^CLAUDE_BOTTLE_TEST_ADDED=1$/m);
      assert.match(stdout, /^PATH=/m);
      assert.doesNotMatch(stdout, /REMOVED/);
    } finally {
      delete process.env.CLAUDE_BOTTLE_TEST_REMOVED;
    }
  });

  test('a killed child counts as 128 and the signal', async () => {
    assert.equal((await run('sh', ['-c', 'kill -9 $$'])).code, 137);
  });

  test('a program that is not there, or is none, is CommandMissing', async () => {
    await assert.rejects(run('claude-bottle-no-such-program', []), CommandMissing);
    await assert.rejects(run('/etc/passwd', []), CommandMissing);
  });

  test('writes the input, and without one standard input is at its end', async () => {
    assert.equal((await run('cat', [], { input: 'hello' })).stdout, 'hello');
    assert.equal((await run('cat', [])).stdout, '');
  });

  test('a child that never reads its input fails nothing', async () => {
    assert.equal((await run('true', [], { input: 'x'.repeat(1_000_000) })).code, 0);
  });

  test('keeps the end of each stream and no more than asked', async () => {
    const { stdout } = await run('sh', ['-c', 'seq 1 100000; printf END'], { captureBytes: 1000 });
    assert.equal(stdout.length, 1000);
    assert.ok(stdout.endsWith('99999\n100000\nEND'));
  });

  test('gives every line once, whatever ends it and however it is cut', async () => {
    const lines: string[] = [];
    const write = `const parts = ['one\\r', '\\ntwo\\n', '\\n\\u00e9'.slice(0, 2), 'three\\rfour\\r', '\\n', '\\nlast'];
      const next = () => { const part = parts.shift(); if (part !== undefined) { process.stdout.write(part); setTimeout(next, 30); } };
      next();`;
    await run(process.execPath, ['-e', write], {
      onLine: (line, name) => {
        if (name === 'stdout') lines.push(line);
      },
    });
    assert.deepEqual(lines, ['one', 'two', '', 'éthree', 'four', '', 'last']);
  });

  test('a line without an end arrives in pieces of bounded length', async () => {
    let longest = 0;
    let total = 0;
    await run('sh', ['-c', 'head -c 5000000 /dev/zero | tr "\\0" x'], {
      onLine: (line) => {
        longest = Math.max(longest, line.length);
        total += line.length;
      },
    });
    assert.equal(total, 5_000_000);
    assert.ok(longest < 200_000, `${longest}`);
  });

  test('a deadline kills the whole group, also members deaf to polite signals', async () => {
    await using directory = await temporary();
    const file = join(directory.path, 'pid');
    await assert.rejects(
      run('bash', deafGrandchild(file, 'sleep 300'), { deadlineMs: 500 }),
      (error) => error instanceof DeadlineExceeded && error.fields.deadlineMs === 500,
    );
    const pid = await pidIn(file);
    await until(() => isGone(pid));
  });

  test('an abort kills the whole group and throws its reason', async () => {
    await using directory = await temporary();
    const file = join(directory.path, 'pid');
    const abort = new AbortController();
    const reason = new Interrupted({ signal: 'SIGINT' });
    const running = run('bash', deafGrandchild(file, 'wait'), { signal: abort.signal });
    await until(() => pidIn(file).then(Boolean, () => false));
    abort.abort(reason);
    await assert.rejects(running, (error) => error === reason);
    const pid = await pidIn(file);
    await until(() => isGone(pid));
  });

  test('a child deaf to the polite signal is killed all the same', async () => {
    await assert.rejects(
      run('bash', ['-c', "trap '' TERM; while :; do sleep 1; done"], { deadlineMs: 200 }),
      DeadlineExceeded,
    );
  });

  test('a descendant that left the group and holds the pipes is not waited for', async () => {
    const escaped = 'setsid sleep 60 & echo said; exit 0';
    assert.deepEqual(await run('sh', ['-c', escaped]), { code: 0, stdout: 'said\n', stderr: '' });
    const stop = new AbortController();
    const running = run('sh', ['-c', 'setsid sleep 60 & sleep 60'], {
      signal: stop.signal,
      onStart: () => void setTimeout(() => stop.abort(new Interrupted({ signal: 'SIGINT' })), 100),
    });
    await assert.rejects(running, Interrupted);
    await run('pkill', ['-f', '^sleep 60$']);
  });

  test('an aborted signal starts nothing', async () => {
    await using directory = await temporary();
    const file = join(directory.path, 'started');
    const reason = new Error('stop');
    await assert.rejects(run('touch', [file], { signal: AbortSignal.abort(reason) }), (e) => e === reason);
    await assert.rejects(readFile(file), { code: 'ENOENT' });
  });

  test('when onStart fails, the child is killed and the failure thrown', async () => {
    const failed = new Error('cannot write it down');
    let pid = 0;
    const onStart = (started: number) => {
      pid = started;
      throw failed;
    };
    await assert.rejects(run('sleep', ['300'], { onStart }), (error) => error === failed);
    assert.equal(await isGone(pid), true);
  });
});

describe('stream', () => {
  test('gives standard output to the reader and the rest at the end', async () => {
    await using child = stream('sh', ['-c', 'seq 1 50000; echo noise >&2; exit 3']);
    const out = await text(child.stdout);
    assert.equal(out.split('\n').length, 50_001);
    const { code, stderr } = await child.done;
    assert.deepEqual({ code, stderr }, { code: 3, stderr: 'noise\n' });
  });

  for (const [how, read] of [
    ['in full', (stdout: Readable) => text(stdout)],
    ['as events', (stdout: Readable) => text(stdout.pipe(new PassThrough()))],
    ['chunk by chunk', (stdout: Readable) => text(Readable.from(stdout.iterator()))],
  ] as const) {
    for (const joinStderr of [false, true]) {
      test(`keeps the output of a child that is long gone when it is read ${how}${joinStderr ? ', both streams as one' : ''}`, async () => {
        let started = 0;
        // Little enough to wait in the pipe, so that the child can end.
        const script = 'dd if=/dev/zero bs=20000 count=5 status=none; exit 4';
        await using child = stream('sh', ['-c', script], {
          joinStderr,
          onStart: (pid) => {
            started = pid;
          },
        });
        await until(() => isGone(started));
        await new Promise((resolve) => setTimeout(resolve, 300));
        assert.equal((await read(child.stdout)).length, 100_000);
        assert.equal((await child.done).code, 4);
      });
    }
  }

  test('holds a fast child back while nobody reads', async () => {
    await using child = stream('sh', ['-c', 'head -c 50000000 /dev/zero; echo done >&2']);
    await child.stdout.iterator({ destroyOnReturn: false }).next();
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.ok(child.stdout.readableLength < 1_000_000, `${child.stdout.readableLength}`);
  });

  test('disposal kills what still runs and waits for it', async () => {
    let pid = 0;
    {
      await using child = stream('sh', ['-c', 'echo up; exec sleep 300'], {
        onStart: (started) => {
          pid = started;
        },
      });
      await child.stdout.iterator({ destroyOnReturn: false }).next();
    }
    assert.equal(await isGone(pid), true);
  });

  test('disposal ends though a grandchild holds standard error open', async () => {
    await using directory = await temporary();
    const file = join(directory.path, 'pid');
    {
      await using child = stream('bash', [
        '-c',
        `(echo $BASHPID > "${file}.new"; mv "${file}.new" "${file}"; exec sleep 300) >/dev/null & echo out`,
      ]);
      await text(child.stdout);
      await until(() => pidIn(file).then(Boolean, () => false));
    }
    const pid = await pidIn(file);
    await until(() => isGone(pid));
  });

  test('a program that is not there ends the stream and fails done', async () => {
    await using child = stream('claude-bottle-no-such-program', []);
    assert.equal(await text(child.stdout).catch(() => ''), '');
    await assert.rejects(child.done, CommandMissing);
  });
});
