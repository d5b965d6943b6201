import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../../src/process/run.ts';
import { execCases, newMark, runOf, sleepers } from '../cases/exec.ts';
import { type Made, onStage, said } from '../stage.ts';
import { openStage, ways } from './stage.ts';

for (const way of ways) {
  onStage(`a further program with ${way}`, { open: () => openStage(way) }, (stage) => {
    let made: Made;
    before(async () => {
      made = await runOf(stage());
    });
    after(async () => {
      await made[Symbol.asyncDispose]();
    });
    const told = async (slug: string) => {
      const { engine } = stage();
      const { stdout } = await run(engine.command, ['inspect', `claude-bottle-${slug}`]);
      assert.ok(stdout.includes(slug));
      const id = (JSON.parse(stdout) as { ExecIDs?: string[] }[])[0]?.ExecIDs?.[0];
      if (engine.socket !== undefined) assert.ok(id !== undefined);
      return stdout;
    };

    for (const [name, holds] of Object.entries(execCases)) {
      test(name, () => holds({ stage: stage(), made, long: 200_000_000, told }));
    }

    test('ends inside also in the middle of a flood, with what it put in the background', async () => {
      const mark = newMark();
      await assert.rejects(made.bottle.exec(['sh', '-c', `sleep ${mark} & yes`], { timeoutMs: 1500 }), {
        name: 'DeadlineExceeded',
      });
      assert.equal(await sleepers(made.bottle, mark), 0);
      for (let times = 0; times < 5; times++) {
        await using program = made.bottle.stream(['sh', '-c', `sleep ${mark} & yes`]);
        await program.stdout[Symbol.asyncIterator]().next();
        // Every other time when there is no room for more on the way here.
        await sleep(times % 2 === 0 ? 0 : 200);
      }
      assert.equal(await sleepers(made.bottle, mark), 0);
    });

    test('leaves what it put in the background alone when it ends by itself', async () => {
      const mark = newMark();
      const script = `setsid sh -c 'echo $$ >/tmp/pid; exec sleep ${mark}' >/dev/null 2>&1 </dev/null &`;
      await made.bottle.exec(['sh', '-c', script]);
      while ((await sleepers(made.bottle, mark)) === 0) await sleep(20);
      await said(made.bottle, 'kill $(cat /tmp/pid)');
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

    test('says so when the bottle never ran', async () => {
      await using idle = await stage().make();
      await assert.rejects(idle.bottle.exec(['true']), { name: 'BottleNotRunning' });
    });
  });
}
