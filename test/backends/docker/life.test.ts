import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bottle, BottleStatus } from '../../../src/backends/backend.ts';
import { currentOwner } from '../../../src/process/owner.ts';
import { bottleInit } from '../../guest/guest.ts';
import { openStage, type Stage, ways } from './stage.ts';

async function ended(bottle: Bottle): Promise<BottleStatus> {
  for (;;) {
    const status = await bottle.status();
    if (status?.state === 'exited') return status;
    await sleep(20);
  }
}

async function logOf(bottle: Bottle, options: { tail?: number; follow?: boolean } = {}): Promise<string> {
  await using log = bottle.logs({ follow: false, ...options });
  const chunks = await log.stdout.toArray();
  await log.done;
  return Buffer.concat(chunks as Buffer[]).toString('utf8');
}

for (const way of ways) {
  describe(`the life of a bottle with ${way}`, () => {
    let stage: Stage;
    before(async () => {
      stage = await openStage(way);
    });
    after(async () => {
      await stage[Symbol.asyncDispose]();
    });

    test('goes from created to running to exited to gone', async () => {
      await using made = await stage.make({ command: ['sh', '-c', 'sleep 1; exit 9'] });
      const { bottle } = made;
      assert.deepEqual(await bottle.status(), { state: 'created' });
      await bottle.start();
      const running = await bottle.status();
      assert.equal(running?.state, 'running');
      assert.match(running.startedAt ?? '', /^2\d{3}-.*Z$/);
      const { exitCode, outOfMemory } = await ended(bottle);
      assert.deepEqual([exitCode, outOfMemory], [9, false]);
      await bottle.remove();
      assert.equal(await bottle.status(), undefined);
      await bottle.remove();
      await bottle.stop(1000);
    });

    test('ends politely, and by force after the grace', async () => {
      await using polite = await stage.run({
        command: ['sh', '-c', 'trap "exit 5" TERM; echo set; while :; do sleep 0.1; done'],
      });
      await using stubborn = await stage.run({
        command: ['sh', '-c', 'trap "" TERM; echo set; while :; do sleep 0.1; done'],
      });
      for (const { bottle } of [polite, stubborn]) {
        while (!(await logOf(bottle)).includes('set')) await sleep(50);
      }
      await Promise.all([polite.bottle.stop(20_000), stubborn.bottle.stop(1_000)]);
      assert.equal((await polite.bottle.status())?.exitCode, 5);
      assert.equal((await stubborn.bottle.status())?.exitCode, 137);
      await polite.bottle.stop(1_000);
    });

    test('is told apart when it never ran', async () => {
      await using made = await stage.make();
      await made.bottle.stop(1_000);
      assert.notEqual((await made.bottle.status())?.state, 'running');
    });

    test('leaves a log of both streams, its end, and when it last grew', async () => {
      await using made = await stage.run({
        command: ['sh', '-c', 'echo one; echo two >&2; echo three; echo four >&2; sleep 3600'],
      });
      const { bottle } = made;
      while (!(await logOf(bottle)).includes('four')) await sleep(50);
      const lines = (text: string) => text.trim().split('\n').sort();
      assert.deepEqual(lines(await logOf(bottle)), ['four', 'one', 'three', 'two']);
      assert.ok(lines(await logOf(bottle, { tail: 2 })).length <= 4);
      const last = await bottle.lastOutput();
      assert.ok(last !== undefined && Math.abs(Date.now() - last.getTime()) < 600_000);
      await using silent = await stage.run();
      assert.equal(await silent.bottle.lastOutput(), undefined);
    });

    test('can be followed to its end, or until nobody listens any more', async () => {
      await using made = await stage.run({
        command: ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 0.3; done'],
      });
      assert.equal(await logOf(made.bottle, { follow: true }), '1\n2\n3\n');
      await using endless = await stage.run({ command: ['sh', '-c', 'echo first; sleep 3600'] });
      {
        await using log = endless.bottle.logs({ follow: true });
        const first = await log.stdout[Symbol.asyncIterator]().next();
        assert.equal(String(first.value), 'first\n');
      }
      const interrupt = new AbortController();
      const log = endless.bottle.logs({ follow: true, signal: interrupt.signal });
      await log.stdout[Symbol.asyncIterator]().next();
      interrupt.abort(new Error('enough'));
      await assert.rejects(log.done, /enough/);
    });

    test('counts what it wrote', async () => {
      await using made = await stage.run({
        command: ['sh', '-c', 'head -c 20000000 /dev/zero >/x; sleep 3600'],
      });
      while ((await made.bottle.diskUse()) < 20_000_000) await sleep(50);
      assert.ok((await made.bottle.diskUse()) < 30_000_000);
    });

    test('says when memory ran out', async () => {
      await using made = await stage.run({ command: ['sh', '-c', 'exec tail /dev/zero'] });
      const status = await ended(made.bottle);
      assert.equal(status.exitCode, 137);
      if (way !== 'podman') assert.equal(status.outOfMemory, true);
    });

    test('is found again by its label, with its owner and version', async () => {
      await using made = await stage.make();
      const found = (await stage.backend.find()).filter(({ slug }) => slug === made.spec.slug);
      assert.deepEqual(found, [{ slug: made.spec.slug, owner: await currentOwner(), version: '1.2.3-test' }]);
    });

    test('needs no shell, no user and no file of the image', async () => {
      const image = await stage.image('FROM scratch\nCOPY only /only\nENTRYPOINT ["/nothing"]', {
        only: await readFile(bottleInit),
      });
      await using made = await stage.run({ image, command: ['/only', '--version'] });
      const { exitCode } = await ended(made.bottle);
      assert.equal(exitCode, 0, await logOf(made.bottle));
      assert.match(await logOf(made.bottle), /^bottle-init \d/);
      assert.deepEqual(await made.bottle.account(), { uid: 0, gid: 0, home: '/' });
    });

    test('ends with what bottle-init says of a command or a user that is not there', async () => {
      await using noCommand = await stage.run({ command: ['no-such-command'] });
      assert.equal((await ended(noCommand.bottle)).exitCode, 127);
      await using noProgram = await stage.run({ command: ['/etc/passwd'] });
      assert.equal((await ended(noProgram.bottle)).exitCode, 126);
      await using noUser = await stage.run({ user: 'nobody-here' });
      assert.equal((await ended(noUser.bottle)).exitCode, 125);
      assert.match(await logOf(noUser.bottle), /nobody-here/);
    });

    test('does not begin twice under one name', async () => {
      await using made = await stage.make();
      await assert.rejects(stage.backend.create(made.spec), {
        name: 'BottleExists',
        fields: { slug: made.spec.slug },
      });
      assert.equal((await made.bottle.status())?.state, 'created');
    });

    test('does not begin without its image or its runtime', async () => {
      await assert.rejects(stage.make({ image: `localhost/nothing:${randomBytes(4).toString('hex')}` }), {
        name: 'ImageMissing',
      });
      await assert.rejects(
        stage.make({ runtime: 'no-such-runtime' }),
        (error: { name: string; fields: { known: string[] } }) => {
          assert.equal(error.name, 'RuntimeUnknown');
          assert.ok(error.fields.known.length > 0);
          return true;
        },
      );
    });

    test('is planned with what the engine has', async () => {
      const { runtime, diskLimit } = await stage.backend.check({});
      assert.match(runtime, /^(runc|crun|runsc)$/);
      assert.match(diskLimit, /^(enforced|watched)$/);
      assert.equal((await stage.backend.check({ runtime: 'runc' })).runtime, 'runc');
      await assert.rejects(stage.backend.check({ runtime: 'no-such-runtime' }), { name: 'RuntimeUnknown' });
    });

    test('leaves nothing when it is interrupted in the making', async () => {
      await using made = await stage.make();
      const slug = `test-${randomBytes(4).toString('hex')}`;
      const interrupt = new AbortController();
      const creation = stage.backend.create({ ...made.spec, slug }, interrupt.signal);
      setImmediate(() => interrupt.abort(new Error('enough')));
      await assert.rejects(creation, /enough/);
      assert.equal(await stage.backend.bottle(slug).status(), undefined);
    });

    test('is one of two dozen at once', async () => {
      const slugs = await Promise.all(
        Array.from({ length: 24 }, async (_, index) => {
          await using made = await stage.run({ command: ['sh', '-c', `echo ${index}; hostname`] });
          await ended(made.bottle);
          assert.deepEqual(await logOf(made.bottle), `${index}\n${made.spec.slug}\n`);
          return made.spec.slug;
        }),
      );
      const left = (await stage.backend.find()).map(({ slug }) => slug);
      assert.ok(slugs.every((slug) => !left.includes(slug)));
    });
  });
}
