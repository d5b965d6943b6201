import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Made, openStage, said, type Stage } from './stage.ts';

const secret = 'canary-5c1f0e';

/** Every command line and every environment of this machine that can be read. */
async function allThatIsTold(): Promise<string> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const files = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''));
  return (await Promise.all(files)).join('\n');
}

describe('a further program in a machine', { timeout: 300_000 }, () => {
  let stage: Stage;
  let made: Made;
  before(async () => {
    stage = await openStage();
    const image = await stage.image('RUN useradd --uid 1234 --create-home dev && touch /notexec\nUSER dev');
    made = await stage.run({ ...image, env: { PUBLIC: 'a "b" $c' } });
  });
  after(async () => {
    await made[Symbol.asyncDispose]();
    await stage[Symbol.asyncDispose]();
  });
  /** How many that sleep for so long there are. */
  const count = async (mark: string) => (await allThatIsTold()).split(`sleep\0${mark}\0`).length - 1;

  test('gives back both streams and its status', async () => {
    const result = await made.bottle.exec(['sh', '-c', 'echo out; echo err >&2; exit 7']);
    assert.deepEqual(result, { code: 7, stdout: 'out\n', stderr: 'err\n' });
  });

  test('has statuses as a shell has them', async () => {
    const codeOf = async (...argv: string[]) => (await made.bottle.exec(argv)).code;
    assert.equal(await codeOf('no-such-program'), 127);
    assert.equal(await codeOf('/notexec'), 126);
    assert.equal(await codeOf('sh', '-c', 'kill -TERM $$'), 143);
    assert.equal(await codeOf('sh', '-c', 'echo "Error: mine" >&2; exit 1'), 1);
  });

  test('gets its input whole, and its end', async () => {
    const { stdout } = await made.bottle.exec(['sh', '-c', 'cat; echo end'], { input: 'ein Wörtchen\n' });
    assert.equal(stdout, 'ein Wörtchen\nend\n');
    const large = 'x'.repeat(2_000_000);
    assert.equal((await made.bottle.exec(['wc', '-c'], { input: large })).stdout.trim(), '2000000');
    assert.equal((await made.bottle.exec(['true'], { input: large })).code, 0);
    assert.equal((await made.bottle.exec(['cat'])).stdout, '');
  });

  test('runs where and as whom it should, with the public variables', async () => {
    assert.equal((await made.bottle.exec(['pwd'], { workdir: '/usr/lib' })).stdout, '/usr/lib\n');
    assert.equal(await said(made.bottle, 'id -un; echo $HOME; pwd'), 'dev\n/home/dev\n/');
    assert.equal(await said(made.bottle, 'id -un; echo $HOME', 'root'), 'root\n/root');
    assert.equal(await said(made.bottle, 'echo $PUBLIC'), 'a "b" $c');
    assert.deepEqual(await made.bottle.account(), { uid: 1234, gid: 1234, home: '/home/dev' });
    assert.equal(await said(made.bottle, 'touch ~/mine && stat -c %U ~'), 'dev');
    assert.equal((await made.bottle.exec(['pwd'], { workdir: '/nowhere' })).code, 125);
    const { stdout } = await stage.another().bottle(made.spec.slug).exec(['id', '-un']);
    assert.equal(stdout, 'dev\n');
  });

  test('has no rights but the user’s, and root seven capabilities', async () => {
    const status = await said(made.bottle, 'cat /proc/self/status');
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.match(status, /^CapBnd:\t0000000000000000$/m);
    assert.match(await said(made.bottle, 'cat /proc/self/status', 'root'), /^CapBnd:\t00000000000000fb$/m);
  });

  test('has variables that nobody outside can see', async () => {
    await using program = made.bottle.stream(['sh', '-c', 'echo $TOKEN; cat; sleep 7411'], {
      env: { TOKEN: secret },
      input: secret,
    });
    const output = program.stdout[Symbol.asyncIterator]();
    let text = '';
    while (!text.includes(`${secret}\n${secret}`)) text += String((await output.next()).value);
    assert.ok((await allThatIsTold()).includes('sleep 7411'));
    assert.ok(!(await allThatIsTold()).includes(secret));
  });

  test('ends inside at its deadline and on its signal, with everything it started', async () => {
    const script = 'sleep 7401 & setsid sleep 7401 & (setsid sh -c "trap : TERM; sleep 7401" &) ; sleep 7401';
    await assert.rejects(made.bottle.exec(['sh', '-c', script], { timeoutMs: 2500 }), {
      name: 'DeadlineExceeded',
      fields: { command: 'sh', deadlineMs: 2500 },
    });
    assert.equal(await count('7401'), 0);
    const interrupt = new AbortController();
    const ended = made.bottle.exec(['sleep', '7402'], { signal: interrupt.signal });
    ended.catch(() => undefined);
    while ((await count('7402')) === 0) await sleep(20);
    interrupt.abort(new Error('enough'));
    await assert.rejects(ended, /enough/);
    assert.equal(await count('7402'), 0);
    {
      await using program = made.bottle.stream(['sh', '-c', 'sleep 7403 & yes']);
      await program.stdout[Symbol.asyncIterator]().next();
    }
    assert.equal(await count('7403'), 0);
  });

  test('streams as it comes, at the reader’s pace', async () => {
    const before = process.memoryUsage.rss();
    await using program = made.bottle.stream(['head', '-c', '50000000', '/dev/zero']);
    let size = 0;
    for await (const chunk of program.stdout as AsyncIterable<Buffer>) size += chunk.length;
    assert.equal((await program.done).code, 0);
    assert.equal(size, 50_000_000);
    assert.ok(process.memoryUsage.rss() - before < 100_000_000);
  });

  test('says so when there is no bottle, or none that runs', async () => {
    const gone = stage.backend.bottle('never-was');
    await assert.rejects(gone.exec(['true']), { name: 'BottleGone', fields: { slug: 'never-was' } });
    await using idle = await stage.make();
    await idle.bottle.stop(0);
    await assert.rejects(idle.bottle.exec(['true']), { name: 'BottleNotRunning' });
  });
});
