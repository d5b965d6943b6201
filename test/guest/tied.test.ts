import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { before, describe, test } from 'node:test';
import { bottleInit, build, built, Running, until } from './guest.ts';

before(build);

/** `go`, the variables and the input, as bottle-init reads them. */
function going(env: Readonly<Record<string, string>>, input: Buffer): Buffer {
  const variables = Buffer.from(
    Object.entries(env)
      .map(([name, value]) => `${name}=${value}\0`)
      .join(''),
  );
  return Buffer.concat([Buffer.from(`go ${variables.length} ${input.length}\n`), variables, input]);
}

function tied(program: readonly [string, ...string[]], script: string): Running {
  const [command, ...args] = [...program, 'exec', '--tied', '--', 'sh', '-c', script];
  return new Running(command, args, { PATH: process.env.PATH, KEPT: 'kept', GIVEN: 'before' });
}

async function sleepers(mark: string): Promise<number> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')),
  );
  return lines.filter((line) => line === `sleep\0${mark}\0`).length;
}

describe('a command that is tied to its standard input', { timeout: 120_000 }, () => {
  for (const [name, program] of [
    ['as it is shipped', [bottleInit]],
    ['under the sanitizers', [built.sanitized]],
    ['under valgrind', ['valgrind', '--quiet', '--error-exitcode=99', built.hosted]],
  ] as const) {
    test(`has its variables and its input, and its status comes back, ${name}`, async () => {
      const input = Buffer.alloc(3_000_000, 'x');
      await using command = tied(program, 'wc -c; echo $KEPT,$GIVEN; exit 7');
      command.child.stdin?.write(going({ GIVEN: 'over' }, input));
      assert.equal(await command.ended, 7);
      assert.equal(command.output.trim(), '3000000\nkept,over');
    });

    test(`ends with it, with everything it started, ${name}`, async () => {
      const mark = String(7300 + Math.floor(Math.random() * 100_000));
      const sleep = `sleep ${mark}`;
      await using command = tied(
        program,
        `${sleep} & setsid ${sleep} & (setsid sh -c 'trap "" TERM; ${sleep}; :' &); ${sleep}`,
      );
      // Input that nobody reads must not hide the end behind it.
      command.child.stdin?.write(going({}, Buffer.alloc(1_000_000)));
      await until(async () => (await sleepers(mark)) === 4 || undefined);
      command.child.stdin?.end();
      assert.equal(await command.ended, 137);
      assert.equal(await sleepers(mark), 0);
    });
  }

  test('does not begin without a whole go', async () => {
    for (const [bytes, what] of [
      ['', /ended too early/],
      ['go 5 0\nA=', /ended too early/],
      ['go 4 0\nA=bc', /has no end/],
      ['stop 0 0\n', /does not begin with a go/],
      ['go 0\n', /does not begin with a go/],
      ['go -1 0\n', /does not begin with a go/],
      [`go ${'0'.repeat(80)}`, /does not begin with a go/],
      ['go 99999999999 0\n', /does not begin with a go/],
    ] as const) {
      for (const program of [bottleInit, built.sanitized]) {
        await using command = tied([program], 'echo begun');
        command.child.stdin?.end(bytes);
        assert.equal(await command.ended, 125, bytes);
        assert.match(command.output, what);
        assert.doesNotMatch(command.output, /begun/);
      }
    }
  });

  test('does not mind a command that reads nothing', async () => {
    await using command = tied([bottleInit], 'exec 0<&-; sleep 0.2; exit 4');
    command.child.stdin?.write(going({}, Buffer.alloc(1_000_000)));
    assert.equal(await command.ended, 4);
  });
});
