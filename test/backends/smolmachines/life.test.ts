import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ended, lifeCases, logOf } from '../cases/life.ts';
import { onStage, said } from '../stage.ts';
import { openStage } from './stage.ts';

onStage('the life of a bottle in a machine', { open: openStage, timeout: 540_000 }, (stage) => {
  for (const [name, holds] of Object.entries(lifeCases)) {
    test(name, () => holds({ stage: stage(), makingMs: 500 }));
  }

  test('leaves a machine that is stopped, until it is removed with all that is kept of it', async () => {
    await using made = await stage().run();
    await made.bottle.stop(0);
    assert.equal((await stage().machines.status(`claude-bottle-${made.spec.slug}`))?.state, 'stopped');
    const kept = `${made.spec.runDirectory}/../machine`;
    assert.ok(existsSync(kept));
    await made.bottle.remove();
    assert.ok(!existsSync(kept));
  });

  test('is over when its machine is, and who is attached is told', async () => {
    await using made = await stage().run();
    const attached = made.bottle.logs({ follow: true });
    await stage().machines.stop(`claude-bottle-${made.spec.slug}`);
    assert.equal((await ended(made.bottle)).exitCode, 137);
    await attached.done;
    await assert.rejects(made.bottle.exec(['true']), { name: 'BottleNotRunning' });
  });

  test('begins again where it was stopped, with what it wrote', async () => {
    await using made = await stage().run();
    await said(made.bottle, 'echo kept >/root/file');
    await made.bottle.stop(0);
    const later = stage().another().bottle(made.spec.slug);
    assert.equal((await later.status())?.state, 'exited');
    await later.restore(made.spec.runDirectory);
    await later.start();
    assert.equal((await later.status())?.state, 'running');
    assert.equal(await said(later, 'cat /root/file'), 'kept');
    await later.stop(0);
  });

  test('does not begin for a user that is not there, and leaves nothing', async () => {
    const slug = `test-${randomBytes(4).toString('hex')}`;
    await assert.rejects(stage().make({ slug, user: 'nobody-here' }), (error: Error) => {
      assert.equal(error.name, 'UserUnknown');
      assert.match(error.message, /There is no such user in \/etc\/passwd\./);
      return true;
    });
    assert.equal(await stage().backend.bottle(slug).status(), undefined);
  });

  test('is one of two at once, which know nothing of each other', async () => {
    const both = await Promise.all(
      ['a', 'b'].map(async (each) => {
        await using made = await stage().run({
          command: ['sh', '-c', `echo ${each} >/mine; cat /mine; sleep 3`],
        });
        while ((await logOf(made.bottle)) === '') await sleep(50);
        const seen = await said(made.bottle, 'cat /mine');
        await ended(made.bottle);
        return `${seen} ${await logOf(made.bottle)}`;
      }),
    );
    assert.deepEqual(both, ['a a\n', 'b b\n']);
  });
});
