import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { dataFrames, endFrame, frame, signalFrame, sizeFrame } from './frames.ts';
import { bottleInit, build, built, Running, until } from './guest.ts';

before(build);

const valgrind = [
  'valgrind',
  '--quiet',
  '--sim-hints=lax-ioctls',
  '--error-exitcode=99',
  built.hosted,
] as const;
const programs = [
  ['as it is shipped', [bottleInit]],
  ['under the sanitizers', [built.sanitized]],
  ['under valgrind', valgrind],
] as const;
type Kind = 'pipes' | 'terminal';
type Form = 'first' | 'exec';

function session(program: readonly string[], form: Form, kind: Kind, ...command: string[]): Running {
  const [name, ...args] = [...program, ...(form === 'exec' ? ['exec'] : []), `--session=${kind}`];
  return new Running(name, [...args, '--', ...command]);
}

function shell(program: readonly string[], form: Form, kind: Kind, script: string): Running {
  return session(program, form, kind, 'bash', '-c', script);
}

async function running(mark: string): Promise<number> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')),
  );
  return lines.filter((line) => line === `sleep\0${mark}\0`).length;
}

function newMark(): string {
  return String(1_000_000 + Math.floor(Math.random() * 1_000_000_000));
}

for (const form of ['first', 'exec'] as const) {
  describe(`a session of pipes (${form})`, { timeout: 120_000 }, () => {
    for (const [how, program] of programs) {
      test(`input over many frames arrives whole, its end too, and the status comes back, ${how}`, async () => {
        const data = Buffer.alloc(3_000_001, 'abcdefg\n');
        await using command = shell(program, form, 'pipes', 'tr -d "\\n" | md5sum; echo done >&2; exit 7');
        const stdin = command.child.stdin!;
        stdin.write(dataFrames(data.subarray(0, 10), 1));
        stdin.write(dataFrames(data.subarray(10), 64_001));
        stdin.write(endFrame);
        // What comes after the end is for nobody.
        stdin.write(dataFrames('more'));
        assert.equal(await command.ended, 7);
        const sum = createHash('md5').update(data.toString().replaceAll('\n', '')).digest('hex');
        assert.equal(command.output, `${sum}  -\ndone\n`);
      });
    }

    test('a frame may come byte by byte', async () => {
      await using command = shell([bottleInit], form, 'pipes', 'read line; echo "<$line>"');
      for (const byte of Buffer.concat([frame('d', 'li'), frame('d'), frame('d', 'ne\n')])) {
        await new Promise((resolve) => command.child.stdin!.write(Buffer.from([byte]), resolve));
        await sleep(2);
      }
      assert.equal(await command.ended, 0);
      assert.equal(command.output, '<line>\n');
    });

    test('signals go to the group of the command', async () => {
      const script = `bash -c 'trap "echo child; exit" USR1; echo born; while :; do sleep 0.02; done' &
        trap "echo parent" USR1; trap "exit 9" TERM; while :; do sleep 0.02; done`;
      await using command = shell([bottleInit], form, 'pipes', script);
      await command.says('born');
      command.child.stdin!.write(signalFrame(constants.signals.SIGUSR1));
      await command.says('parent');
      await command.says('child');
      command.child.stdin!.write(signalFrame(constants.signals.SIGTERM));
      assert.equal(await command.ended, 9);
    });

    test('a command that does not read slows its writer down', async () => {
      await using command = shell([bottleInit], form, 'pipes', 'sleep 1; wc -c');
      const stdin = command.child.stdin!;
      let written = 0;
      while (stdin.write(frame('d', Buffer.alloc(65_536)), () => (written += 65_536))) await sleep(1);
      await sleep(300);
      assert.ok(written < 2_000_000, String(written));
      if (stdin.writableNeedDrain) await once(stdin, 'drain');
      stdin.write(endFrame);
      assert.equal(await command.ended, 0);
      assert.match(command.output, /^\d{6,}\n$/);
    });

    test('a command that closes its input does not mind what comes', async () => {
      await using command = shell([bottleInit], form, 'pipes', 'exec 0<&-; echo shut; sleep 0.3; exit 4');
      await command.says('shut');
      command.child.stdin!.write(dataFrames(Buffer.alloc(500_000)));
      assert.equal(await command.ended, 4);
    });

    test('what is no program is 127', async () => {
      await using command = session([bottleInit], form, 'pipes', 'no-such-program');
      assert.equal(await command.ended, 127);
      assert.match(command.output, /^bottle-init: cannot run no-such-program/);
    });
  });
}

for (const form of ['first', 'exec'] as const) {
  describe(`a session with a terminal (${form})`, { timeout: 120_000 }, () => {
    for (const [how, program] of programs) {
      test(`the command leads a session with a terminal of the size that was asked for, ${how}`, async () => {
        const script =
          'test -t 0 && test -t 1 && test -t 2 && tty && stty size && echo up > /dev/tty; exit 3';
        await using command = shell(program, form, 'terminal', script);
        command.child.stdin!.write(sizeFrame(31, 101));
        assert.equal(await command.ended, 3);
        assert.match(command.output, /^\/dev\/pts\/\d+\r\n31 101\r\nup\r\n$/);
      });
    }

    test('without a size it has 24 rows of 80, a second later', async () => {
      await using command = shell([bottleInit], form, 'terminal', 'stty size');
      assert.equal(await command.ended, 0);
      assert.equal(command.output, '24 80\r\n');
    });

    test('an interactive shell has job control, Ctrl-C for its children only, Ctrl-Z and resizes', async () => {
      await using command = session([bottleInit], form, 'terminal', 'bash', '--norc', '-i');
      const stdin = command.child.stdin!;
      const type = (text: string) => stdin.write(dataFrames(text));
      type("PS1='$ '; echo rea''dy\n");
      await command.says('ready');
      assert.doesNotMatch(command.output, /no job control/);
      type('cat\n');
      await sleep(300);
      type('typed\n');
      await command.says('typed\r\ntyped');
      type('\u0003');
      // What is typed before the shell has the terminal again goes with the signal.
      await sleep(300);
      type('echo af""ter $?\n');
      await command.says('after 130');
      type('sleep 300\n');
      await sleep(300);
      type('\u001a');
      await command.says('Stopped');
      await sleep(300);
      type('kill %1; trap "stty size" WINCH; echo wa""tching\n');
      await command.says('watching');
      stdin.write(sizeFrame(40, 120));
      await sleep(200);
      type('\n');
      await command.says('40 120');
      type('exit 11\n');
      assert.equal(await command.ended, 11);
    });

    test('byte 0x03 ends a command that does not care for it, and the end of input one that reads', async () => {
      await using interrupted = session([bottleInit], form, 'terminal', 'cat');
      interrupted.child.stdin!.write(dataFrames('one\n'));
      await interrupted.says('one\r\none\r\n');
      interrupted.child.stdin!.write(dataFrames('\u0003'));
      assert.equal(await interrupted.ended, 130);
      await using ended = session([bottleInit], form, 'terminal', 'cat');
      ended.child.stdin!.write(Buffer.concat([dataFrames('two\n'), endFrame]));
      assert.equal(await ended.ended, 0);
      assert.equal(ended.output.replaceAll('^D\b\b', ''), 'two\r\ntwo\r\n');
    });

    test('50 MB arrive whole at a slow reader, and the command waits for it', async () => {
      const script = 'stty raw -echo; yes 0123456 | head -c 50000000; echo wrote >&2';
      await using command = shell([bottleInit], form, 'terminal', script);
      const stdout = command.child.stdout!;
      stdout.removeAllListeners('data').pause();
      command.child.stdin!.write(sizeFrame(24, 80));
      // Held up altogether at first.
      await sleep(1000);
      assert.equal(command.child.exitCode, null);
      const sum = createHash('md5');
      let size = 0;
      stdout.on('data', (text: string) => {
        sum.update(text);
        size += text.length;
        stdout.pause();
        setTimeout(() => stdout.resume(), 1);
      });
      stdout.resume();
      assert.equal(await command.ended, 0);
      const whole = Buffer.concat([Buffer.alloc(50_000_000, '0123456\n'), Buffer.from('wrote\n')]);
      assert.equal(size, whole.length);
      assert.equal(sum.digest('hex'), createHash('md5').update(whole).digest('hex'));
    });

    test('input that is not read yet is not lost, and does not keep the end from being seen', async () => {
      const script = 'stty raw -echo; echo raw; sleep 1; head -c 1000000 | md5sum';
      await using command = shell([bottleInit], form, 'terminal', script);
      await command.says('raw');
      const data = Buffer.alloc(1_000_000, 'abcdefghij');
      command.child.stdin!.write(dataFrames(data));
      assert.equal(await command.ended, 0);
      assert.ok(command.output.includes(createHash('md5').update(data).digest('hex')), command.output);
      await using deaf = shell([bottleInit], form, 'terminal', 'stty raw -echo; echo raw; sleep 300');
      await deaf.says('raw');
      deaf.child.stdin!.on('error', () => undefined).write(dataFrames(data));
      await sleep(300);
      deaf.child.stdin!.destroy();
      assert.equal(await deaf.ended, form === 'exec' ? 137 : 129);
    });

    test('nobody who reads is no reason to end, or to wait', async () => {
      const script = 'stty raw; head -c 1000000 /dev/zero; echo still > /dev/stderr; exit 5';
      await using command = shell([bottleInit], form, 'terminal', script);
      command.child.stdout!.destroy();
      command.child.stdin!.write(sizeFrame(24, 80));
      assert.equal(await command.ended, 5);
    });

    test('a command that leaves the terminal to what it started ends all the same', async () => {
      const script = '(trap "" HUP TERM; while echo more; do :; done) & echo first; exit 6';
      await using command = shell([bottleInit], form, 'terminal', script);
      assert.equal(await command.ended, 6);
      assert.match(command.output, /first/);
    });
  });
}

describe('a session whose standard input ends', { timeout: 120_000 }, () => {
  const crowd = (mark: string) =>
    `sleep ${mark} & setsid sleep ${mark} & (setsid sh -c 'trap "" TERM HUP; sleep ${mark}; :' &); sleep ${mark}`;
  for (const kind of ['pipes', 'terminal'] as const) {
    for (const [how, program] of programs) {
      test(`exec with ${kind}: everything is killed at once, ${how}`, async () => {
        const mark = newMark();
        await using command = shell(program, 'exec', kind, `trap "" HUP TERM; ${crowd(mark)}`);
        await until(async () => (await running(mark)) === 4 || undefined);
        command.child.stdin!.end();
        assert.equal(await command.ended, 137);
        assert.equal(await running(mark), 0);
      });

      test(`first process with ${kind}: the command is hung up on, and nothing is left, ${how}`, async () => {
        const mark = newMark();
        await using command = shell(program, 'first', kind, `trap "exit 8" HUP TERM; ${crowd(mark)} & wait`);
        await until(async () => (await running(mark)) === 4 || undefined);
        command.child.stdin!.end();
        assert.equal(await command.ended, 8);
        assert.equal(await running(mark), 0);
      });
    }

    test(`first process with ${kind}: a command that hears nothing is killed after the grace`, async () => {
      const mark = newMark();
      const [name, ...args] = [bottleInit, '--grace=300', `--session=${kind}`, '--', 'bash', '-c'];
      await using command = new Running(name, [...args, `trap "" HUP TERM; ${crowd(mark)}`]);
      await until(async () => (await running(mark)) === 4 || undefined);
      const before = Date.now();
      command.child.stdin!.end();
      assert.equal(await command.ended, 137);
      assert.ok(Date.now() - before >= 300);
      assert.equal(await running(mark), 0);
    });
  }

  for (const [what, bytes] of [
    ['of a type that is none', frame('x', 'y')],
    ['of data that is too long', Buffer.from('d\0\u0001\0\u0001', 'latin1')],
    ['of an end with a payload', frame('e', 'e')],
    ['of a size with three bytes', frame('w', 'abc')],
    ['of signal 0', signalFrame(0)],
    ['of a signal that is none', signalFrame(65)],
  ] as const) {
    test(`a frame ${what} is such an end`, async () => {
      for (const kind of ['pipes', 'terminal'] as const) {
        await using command = shell([bottleInit], 'exec', kind, 'echo there; sleep 300');
        await command.says('there');
        command.child.stdin!.write(bytes);
        assert.equal(await command.ended, 137);
        await using first = shell(
          [bottleInit],
          'first',
          kind,
          'trap "exit 5" HUP TERM; echo there; sleep 300 & wait',
        );
        await first.says('there');
        first.child.stdin!.write(bytes);
        assert.equal(await first.ended, 5);
      }
    });
  }
});
