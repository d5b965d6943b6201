import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, describe, test } from 'node:test';
import { bottleInit, build, built, docker, Running, startSealed, until } from './guest.ts';

before(build);

/** Whether it waits for signals yet: before that they would end it. */
async function waits(pid: number): Promise<void> {
  await until(
    async () => /^SigBlk:\s+f{3}/m.test(await readFile(`/proc/${pid}/status`, 'utf8')) || undefined,
  );
}

describe('bottle-init that idles', { timeout: 60_000 }, () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`ends with 0 at ${signal}, and not with its input or at other signals`, async () => {
      for (const program of [bottleInit, built.sanitized]) {
        await using idler = new Running(program, ['idle']);
        await waits(idler.child.pid!);
        idler.child.stdin!.end('what nobody reads\n');
        for (const other of ['SIGHUP', 'SIGUSR1', 'SIGALRM', 'SIGPIPE'] as const) idler.child.kill(other);
        await waits(idler.child.pid!);
        assert.equal(idler.child.exitCode ?? idler.child.signalCode, null);
        idler.child.kill(signal);
        assert.equal(await idler.ended, 0);
        assert.equal(idler.output, '');
      }
    });
  }

  test('as the first process it reaps orphans, and what is executed beside it runs', async () => {
    await using container = await startSealed(['idle']);
    const orphans = `for i in $(seq 50); do sh -c 'sleep 0.05 & exit 0'; done; echo made`;
    const made = await container.exec(container.name, 'sh', '-c', orphans);
    assert.equal(made.stdout, 'made\n', made.stderr);
    await until(async () => {
      const { stdout } = await container.exec(container.name, 'sh', '-c', 'cat /proc/[0-9]*/stat');
      return !/ sleep\)/.test(stdout) && !/\) Z /.test(stdout) ? true : undefined;
    });
    const waited = docker(['wait', container.name]);
    await docker(['kill', '--signal=TERM', container.name]);
    assert.equal((await waited).stdout, '0\n');
  });
});
