import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bottle } from '../../../src/backends/backend.ts';
import { type Made, said, type Stage } from '../stage.ts';
import type { Cases } from './case.ts';

const secret = 'canary-5c1f0e';

/** Every command line on this host. */
async function commandLines(): Promise<string> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''));
  return (await Promise.all(lines)).join('\n');
}

/** A time to sleep that nobody else sleeps. */
export const newMark = (): string => String(randomInt(1e6, 1e9));

/** How many that sleep for so long there are in the bottle. */
export async function sleepers(bottle: Bottle, mark: string): Promise<number> {
  const { stdout } = await bottle.exec(['sh', '-c', 'cat /proc/[0-9]*/cmdline']);
  return stdout.split(`sleep\0${mark}\0`).length - 1;
}

/** A bottle for all cases, with a user, a public variable and a file that is no program. */
export async function runOf(stage: Stage): Promise<Made> {
  const image = await stage.image('RUN useradd --uid 1234 --create-home dev && touch /notexec\nUSER dev');
  return await stage.run({ ...image, env: { PUBLIC: 'a "b" $c' } });
}

interface Given {
  readonly stage: Stage;
  /** By `runOf`. */
  readonly made: Made;
  /** Bytes of a long output. */
  readonly long: number;
  /** What whoever runs the bottle tells of it while a further program runs. */
  told(slug: string): Promise<string>;
}

export const execCases: Cases<Given> = {
  'gives back both streams and its status': async ({ made: { bottle } }) => {
    const result = await bottle.exec(['sh', '-c', 'echo out; echo err >&2; exit 7']);
    assert.deepEqual(result, { code: 7, stdout: 'out\n', stderr: 'err\n' });
  },

  'has statuses as a shell has them': async ({ made: { bottle } }) => {
    const codeOf = async (...argv: string[]) => (await bottle.exec(argv)).code;
    assert.equal(await codeOf('no-such-program'), 127);
    assert.equal(await codeOf('/notexec'), 126);
    assert.equal(await codeOf('sh', '-c', 'kill -TERM $$'), 143);
    assert.equal(await codeOf('sh', '-c', 'kill -KILL $$'), 137);
    // smolvm's own failures look like this.
    assert.equal(await codeOf('sh', '-c', 'echo "Error: mine" >&2; exit 1'), 1);
  },

  'gets its input whole, and its end': async ({ made: { bottle } }) => {
    const { stdout } = await bottle.exec(['sh', '-c', 'cat; echo end'], { input: 'ein Wörtchen\n' });
    assert.equal(stdout, 'ein Wörtchen\nend\n');
    const large = 'x'.repeat(5_000_000);
    assert.equal((await bottle.exec(['wc', '-c'], { input: large })).stdout.trim(), '5000000');
    // One that does not read is no failure.
    assert.equal((await bottle.exec(['true'], { input: large })).code, 0);
    assert.equal((await bottle.exec(['cat'])).stdout, '');
  },

  'runs where and as whom it should, with the public variables': async ({ made: { bottle } }) => {
    assert.equal((await bottle.exec(['pwd'], { workdir: '/usr/lib' })).stdout, '/usr/lib\n');
    assert.equal(await said(bottle, 'id -un; echo $HOME; pwd'), 'dev\n/home/dev\n/');
    assert.equal(await said(bottle, 'id -un; echo $HOME', 'root'), 'root\n/root');
    assert.equal(await said(bottle, 'echo $PUBLIC'), 'a "b" $c');
    assert.deepEqual(await bottle.account(), { uid: 1234, gid: 1234, home: '/home/dev' });
    assert.equal(await said(bottle, 'touch ~/mine && stat -c %U ~'), 'dev');
    const nowhere = await bottle.exec(['pwd'], { workdir: '/nowhere' });
    assert.match(nowhere.stderr, /\/nowhere/);
    assert.equal(nowhere.code, 125);
  },

  'has variables that nobody outside can see': async ({ made, told }) => {
    const mark = newMark();
    const env = {
      TOKEN: secret,
      PATH: '/usr/bin:/bin',
      DOCKER_HOST: 'tcp://nowhere.invalid:1',
      NEWLINE: 'a\nb',
    };
    const script = `echo $TOKEN$DOCKER_HOST; echo "$NEWLINE"; cat; sleep ${mark}`;
    await using program = made.bottle.stream(['sh', '-c', script], { env, input: secret });
    const output = program.stdout[Symbol.asyncIterator]();
    let text = '';
    while (!text.includes(`b\n${secret}`)) text += String((await output.next()).value);
    assert.ok(text.startsWith(`${secret}tcp://nowhere.invalid:1\na\nb\n`), text);
    const lines = await commandLines();
    assert.ok(lines.includes(`sleep ${mark}`));
    assert.ok(!lines.includes(secret));
    assert.ok(!(await told(made.spec.slug)).includes(secret));
  },

  'ends inside at its deadline, with everything it started': async ({ made: { bottle } }) => {
    const mark = newMark();
    // One in the foreground, one in the background, one in a session of its own, one that nobody waits for.
    const script = `sleep ${mark} & setsid sleep ${mark} & (setsid sh -c "trap : TERM; sleep ${mark}; sleep ${mark}" &) ; sleep ${mark}`;
    await assert.rejects(bottle.exec(['sh', '-c', script], { timeoutMs: 2000 }), {
      name: 'DeadlineExceeded',
      fields: { command: 'sh', deadlineMs: 2000 },
    });
    assert.equal(await sleepers(bottle, mark), 0);
  },

  'ends inside on its signal, and when it is disposed of': async ({ made: { bottle } }) => {
    const mark = newMark();
    const interrupt = new AbortController();
    const ended = bottle.exec(['sleep', mark], { signal: interrupt.signal });
    ended.catch(() => undefined);
    while ((await sleepers(bottle, mark)) === 0) await sleep(20);
    interrupt.abort(new Error('enough'));
    await assert.rejects(ended, /enough/);
    assert.equal(await sleepers(bottle, mark), 0);
    {
      await using program = bottle.stream(['sh', '-c', `sleep ${mark} & yes`]);
      await program.stdout[Symbol.asyncIterator]().next();
    }
    assert.equal(await sleepers(bottle, mark), 0);
  },

  'streams as it comes, at the reader’s pace, without end in memory': async ({ made: { bottle }, long }) => {
    const before = process.memoryUsage.rss();
    await using program = bottle.stream(['head', '-c', String(long), '/dev/zero']);
    let size = 0;
    let most = 0;
    for await (const chunk of program.stdout as AsyncIterable<Buffer>) {
      size += chunk.length;
      most = Math.max(most, process.memoryUsage.rss());
    }
    assert.equal((await program.done).code, 0);
    assert.equal(size, long);
    assert.ok(most - before < 100_000_000, `grew by ${most - before}`);
  },

  'keeps the end of what is captured': async ({ made: { bottle } }) => {
    const script = 'head -c 1000000 /dev/zero | tr "\\0" x; echo end';
    const { stdout } = await bottle.exec(['sh', '-c', script]);
    assert.equal(stdout.length, 256 * 1024);
    assert.ok(stdout.endsWith('xxend\n'));
  },

  'can be run through a handle that was not there when the bottle was made': async ({ stage, made }) => {
    const { stdout } = await stage.another().bottle(made.spec.slug).exec(['id', '-un']);
    assert.equal(stdout, 'dev\n');
  },

  'says so when there is no bottle, or none that runs': async ({ stage }) => {
    const gone = stage.backend.bottle('never-was');
    await assert.rejects(gone.exec(['true']), { name: 'BottleGone', fields: { slug: 'never-was' } });
    await using idle = await stage.make();
    await idle.bottle.stop(0);
    await assert.rejects(idle.bottle.exec(['true']), { name: 'BottleNotRunning' });
  },
};
