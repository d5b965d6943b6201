import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../../src/process/run.ts';
import { type Made, openStage, said, type Stage, ways } from './stage.ts';

const secret = 'canary-5c1f0e';

/** Every command line on this machine, and every environment of the engine's own programs. */
async function commandLines(): Promise<string> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''));
  return (await Promise.all(lines)).join('\n');
}

for (const way of ways) {
  describe(`a further program with ${way}`, () => {
    let stage: Stage;
    let made: Made;
    before(async () => {
      stage = await openStage(way);
      const image = await stage.image('RUN useradd --uid 1234 --create-home dev && touch /notexec\nUSER dev');
      made = await stage.run({ image });
    });
    after(async () => {
      await made[Symbol.asyncDispose]();
      await stage[Symbol.asyncDispose]();
    });
    /** How many that sleep for so long there are in the bottle. */
    const count = async (mark: string) => {
      const { stdout } = await made.bottle.exec(['sh', '-c', 'cat /proc/[0-9]*/cmdline']);
      return stdout.split(`sleep\0${mark}\0`).length - 1;
    };

    test('gives back both streams and its status', async () => {
      const result = await made.bottle.exec(['sh', '-c', 'echo out; echo err >&2; exit 7']);
      assert.deepEqual(result, { code: 7, stdout: 'out\n', stderr: 'err\n' });
    });

    test('has statuses as a shell has them', async () => {
      const codeOf = async (...argv: string[]) => (await made.bottle.exec(argv)).code;
      assert.equal(await codeOf('no-such-program'), 127);
      assert.equal(await codeOf('/notexec'), 126);
      assert.equal(await codeOf('sh', '-c', 'kill -TERM $$'), 143);
      assert.equal(await codeOf('sh', '-c', 'kill -KILL $$'), 137);
    });

    test('gets its input whole, and its end', async () => {
      const { stdout } = await made.bottle.exec(['sh', '-c', 'cat; echo end'], { input: 'ein Wörtchen\n' });
      assert.equal(stdout, 'ein Wörtchen\nend\n');
      const large = 'x'.repeat(5_000_000);
      assert.equal((await made.bottle.exec(['wc', '-c'], { input: large })).stdout.trim(), '5000000');
      // One that does not read is no failure.
      assert.equal((await made.bottle.exec(['true'], { input: large })).code, 0);
      assert.equal((await made.bottle.exec(['cat'])).stdout, '');
    });

    test('runs where and as whom it should', async () => {
      assert.equal((await made.bottle.exec(['pwd'], { workdir: '/usr/lib' })).stdout, '/usr/lib\n');
      assert.equal(await said(made.bottle, 'id -un; pwd'), 'dev\n/');
      assert.equal(await said(made.bottle, 'id -un; echo $HOME', 'root'), 'root\n/root');
      const nowhere = await made.bottle.exec(['pwd'], { workdir: '/nowhere' });
      assert.match(nowhere.stderr, /\/nowhere/);
      assert.equal(nowhere.code, 125);
    });

    test('has variables that nobody outside can see', async () => {
      const env = {
        TOKEN: secret,
        PATH: '/usr/bin:/bin',
        DOCKER_HOST: 'tcp://nowhere.invalid:1',
        NEWLINE: 'a\nb',
      };
      await using program = made.bottle.stream(
        ['sh', '-c', 'echo $TOKEN$DOCKER_HOST; echo "$NEWLINE"; cat; sleep 60'],
        {
          env,
          input: secret,
        },
      );
      const output = program.stdout[Symbol.asyncIterator]();
      let text = '';
      while (!text.includes(`b\n${secret}`)) text += String((await output.next()).value);
      assert.ok(text.startsWith(`${secret}tcp://nowhere.invalid:1\na\nb\n`), text);
      assert.ok((await commandLines()).includes('sleep 60'));
      assert.ok(!(await commandLines()).includes(secret));
      const name = `claude-bottle-${made.spec.slug}`;
      const { stdout } = await run(stage.engine.command, ['inspect', name]);
      assert.ok(stdout.includes(made.spec.slug) && !stdout.includes(secret));
      const id = (JSON.parse(stdout) as { ExecIDs?: string[] }[])[0]?.ExecIDs?.[0];
      if (stage.engine.socket !== undefined) assert.ok(id !== undefined);
    });

    test('ends inside at its deadline, with everything it started', async () => {
      // One in the foreground, one in the background, one in a session of its own, one that nobody waits for.
      const script =
        'sleep 7101 & setsid sleep 7101 & (setsid sh -c "trap : TERM; sleep 7101; sleep 7101" &) ; sleep 7101';
      await assert.rejects(made.bottle.exec(['sh', '-c', script], { timeoutMs: 1500 }), {
        name: 'DeadlineExceeded',
        fields: { command: 'sh', deadlineMs: 1500 },
      });
      assert.equal(await count('7101'), 0);
    });

    test('ends inside also in the middle of a flood, with what it put in the background', async () => {
      await assert.rejects(made.bottle.exec(['sh', '-c', 'sleep 7105 & yes'], { timeoutMs: 1500 }), {
        name: 'DeadlineExceeded',
      });
      assert.equal(await count('7105'), 0);
      for (let times = 0; times < 5; times++) {
        await using program = made.bottle.stream(['sh', '-c', 'sleep 7106 & yes']);
        await program.stdout[Symbol.asyncIterator]().next();
        // Every other time when there is no room for more on the way here.
        await sleep(times % 2 === 0 ? 0 : 200);
      }
      assert.equal(await count('7106'), 0);
    });

    test('ends inside on its signal, and when it is disposed of', async () => {
      const interrupt = new AbortController();
      const ended = made.bottle.exec(['sleep', '7102'], { signal: interrupt.signal });
      while ((await count('7102')) === 0) await sleep(20);
      interrupt.abort(new Error('enough'));
      await assert.rejects(ended, /enough/);
      assert.equal(await count('7102'), 0);
      {
        await using program = made.bottle.stream(['sh', '-c', 'sleep 7103 & yes']);
        await program.stdout[Symbol.asyncIterator]().next();
      }
      assert.equal(await count('7103'), 0);
    });

    test('leaves what it put in the background alone when it ends by itself', async () => {
      const script = "setsid sh -c 'echo $$ >/tmp/pid; exec sleep 7104' >/dev/null 2>&1 </dev/null &";
      await made.bottle.exec(['sh', '-c', script]);
      while ((await count('7104')) === 0) await sleep(20);
      await said(made.bottle, 'kill $(cat /tmp/pid)');
    });

    test('streams as it comes, at the reader’s pace, without end in memory', async () => {
      const before = process.memoryUsage.rss();
      await using program = made.bottle.stream(['head', '-c', '200000000', '/dev/zero']);
      let size = 0;
      let most = 0;
      for await (const chunk of program.stdout as AsyncIterable<Buffer>) {
        size += chunk.length;
        most = Math.max(most, process.memoryUsage.rss());
      }
      assert.equal((await program.done).code, 0);
      assert.equal(size, 200_000_000);
      assert.ok(most - before < 100_000_000, `grew by ${most - before}`);
    });

    test('keeps the end of what is captured', async () => {
      const { stdout } = await made.bottle.exec([
        'sh',
        '-c',
        'head -c 1000000 /dev/zero | tr "\\0" x; echo end',
      ]);
      assert.equal(stdout.length, 256 * 1024);
      assert.ok(stdout.endsWith('xxend\n'));
    });

    test('runs beside two dozen others', async () => {
      const results = await Promise.all(
        Array.from({ length: 24 }, (_, index) => made.bottle.exec(['echo', String(index)])),
      );
      assert.deepEqual(
        results.map(({ stdout }) => stdout),
        results.map((_, index) => `${index}\n`),
      );
    });

    test('can be run through a handle that was not there when the bottle was made', async () => {
      const { stdout } = await stage.backend.bottle(made.spec.slug).exec(['id', '-un']);
      assert.equal(stdout, 'dev\n');
    });

    test('says so when there is no bottle, or none that runs', async () => {
      const gone = stage.backend.bottle('never-was');
      await assert.rejects(gone.exec(['true']), { name: 'BottleGone', fields: { slug: 'never-was' } });
      await using idle = await stage.make();
      await assert.rejects(idle.bottle.exec(['true']), { name: 'BottleNotRunning' });
    });
  });
}
