import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { bottleInit } from '../../guest/guest.ts';
import { ended, lifeCases, logOf } from '../cases/life.ts';
import { onStage } from '../stage.ts';
import { openStage, ways } from './stage.ts';

for (const way of ways) {
  onStage(`the life of a bottle with ${way}`, { open: () => openStage(way) }, (stage) => {
    for (const [name, holds] of Object.entries(lifeCases)) {
      test(name, () => holds({ stage: stage(), makingMs: 0 }));
    }

    test('is told apart when it never ran', async () => {
      await using made = await stage().make();
      await made.bottle.stop(1_000);
      assert.notEqual((await made.bottle.status())?.state, 'running');
    });

    test('says when memory ran out', async () => {
      await using made = await stage().run({ command: ['sh', '-c', 'exec tail /dev/zero'] });
      const status = await ended(made.bottle);
      assert.equal(status.exitCode, 137);
      assert.equal(status.outOfMemory, true);
      assert.ok(!existsSync('oom'), 'conmon’s note is left where we are');
    });

    test('needs no shell, no user and no file of the image', async () => {
      const image = await stage().image('FROM scratch\nCOPY only /only\nENTRYPOINT ["/nothing"]', {
        only: await readFile(bottleInit),
      });
      await using made = await stage().run({ ...image, command: ['/only', '--version'] });
      const { exitCode } = await ended(made.bottle);
      assert.equal(exitCode, 0, await logOf(made.bottle));
      assert.match(await logOf(made.bottle), /^bottle-init \d/);
      assert.deepEqual(await made.bottle.account(), { uid: 0, gid: 0, home: '/' });
    });

    test('ends with what bottle-init says of a user that is not there', async () => {
      await using noUser = await stage().run({ user: 'nobody-here' });
      assert.equal((await ended(noUser.bottle)).exitCode, 125);
      assert.match(await logOf(noUser.bottle), /nobody-here/);
    });

    test('does not begin without its image or its runtime', async () => {
      await assert.rejects(stage().make({ image: `localhost/nothing:${randomBytes(4).toString('hex')}` }), {
        name: 'ImageMissing',
      });
      await assert.rejects(
        stage().make({ runtime: 'no-such-runtime' }),
        (error: { name: string; fields: { known: string[] } }) => {
          assert.equal(error.name, 'RuntimeUnknown');
          assert.ok(error.fields.known.length > 0);
          return true;
        },
      );
    });

    test('is planned with what the engine has', async () => {
      const { runtime, diskLimit } = await stage().backend.check({});
      assert.match(runtime, /^(runc|crun|runsc)$/);
      assert.match(diskLimit, /^(enforced|watched)$/);
      assert.equal((await stage().backend.check({ runtime: 'runc' })).runtime, 'runc');
      await assert.rejects(stage().backend.check({ runtime: 'no-such-runtime' }), { name: 'RuntimeUnknown' });
    });

    test('is one of two dozen at once', async () => {
      const slugs = await Promise.all(
        Array.from({ length: 24 }, async (_, index) => {
          await using made = await stage().run({ command: ['sh', '-c', `echo ${index}; hostname`] });
          await ended(made.bottle);
          assert.deepEqual(await logOf(made.bottle), `${index}\n${made.spec.slug}\n`);
          return made.spec.slug;
        }),
      );
      const left = (await stage().backend.find()).map(({ slug }) => slug);
      assert.ok(slugs.every((slug) => !left.includes(slug)));
    });
  });
}
