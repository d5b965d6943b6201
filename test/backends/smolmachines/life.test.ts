import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bottle, BottleStatus } from '../../../src/backends/backend.ts';
import { currentOwner } from '../../../src/process/owner.ts';
import { openStage, said, type Stage } from './stage.ts';

async function ended(bottle: Bottle): Promise<BottleStatus> {
  for (;;) {
    const status = await bottle.status();
    if (status?.state === 'exited') return status;
    await sleep(50);
  }
}

async function logOf(bottle: Bottle, options: { tail?: number; follow?: boolean } = {}): Promise<string> {
  await using log = bottle.logs({ follow: false, ...options });
  const chunks = await log.stdout.toArray();
  await log.done;
  return Buffer.concat(chunks as Buffer[]).toString('utf8');
}

describe('the life of a bottle in a machine', { timeout: 540_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await openStage();
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
    assert.deepEqual((await stage.another().bottle(made.spec.slug).status())?.state, 'running');
    assert.equal((await ended(bottle)).exitCode, 9);
    assert.equal((await stage.another().bottle(made.spec.slug).status())?.exitCode, 9);
    await bottle.stop(1000);
    assert.equal((await bottle.status())?.exitCode, 9);
    assert.equal((await stage.machines.status(`claude-bottle-${made.spec.slug}`))?.state, 'stopped');
    await bottle.remove();
    assert.equal(await bottle.status(), undefined);
    assert.ok(!existsSync(`${made.spec.runDirectory}/../machine`));
    await bottle.remove();
    await bottle.stop(1000);
  });

  test('ends politely, and by force after the grace', async () => {
    await using polite = await stage.run({
      command: ['sh', '-c', 'trap "exit 5" TERM; echo up; while :; do sleep 0.1; done'],
    });
    await using stubborn = await stage.run({
      command: ['sh', '-c', 'trap "" TERM HUP; echo up; while :; do sleep 0.1; done'],
    });
    for (const { bottle } of [polite, stubborn]) {
      while ((await logOf(bottle)) !== 'up\n') await sleep(50);
    }
    await Promise.all([polite.bottle.stop(20_000), stubborn.bottle.stop(1_000)]);
    assert.equal((await polite.bottle.status())?.exitCode, 5);
    assert.equal((await stubborn.bottle.status())?.exitCode, 137);
    await polite.bottle.stop(1_000);
  });

  test('is over when its machine is, and who is attached is told', async () => {
    await using made = await stage.run();
    const attached = made.bottle.logs({ follow: true });
    await stage.machines.stop(`claude-bottle-${made.spec.slug}`);
    assert.equal((await ended(made.bottle)).exitCode, 137);
    await attached.done;
    await assert.rejects(made.bottle.exec(['true']), { name: 'BottleNotRunning' });
  });

  test('begins again where it was stopped, with what it wrote', async () => {
    await using made = await stage.run();
    await said(made.bottle, 'echo kept >/root/file');
    await made.bottle.stop(0);
    const later = stage.another().bottle(made.spec.slug);
    assert.equal((await later.status())?.state, 'exited');
    await later.restore(made.spec.runDirectory);
    await later.start();
    assert.equal((await later.status())?.state, 'running');
    assert.equal(await said(later, 'cat /root/file'), 'kept');
    await later.stop(0);
  });

  test('leaves a log of both streams, its end, and when it last grew', async () => {
    await using made = await stage.run({
      command: ['sh', '-c', 'echo one; echo two >&2; echo three; echo four >&2; sleep 3600'],
    });
    const { bottle } = made;
    while (!(await logOf(bottle)).includes('four')) await sleep(50);
    const lines = (text: string) => text.trim().split('\n').sort();
    assert.deepEqual(lines(await logOf(bottle)), ['four', 'one', 'three', 'two']);
    assert.equal(lines(await logOf(bottle, { tail: 2 })).length, 2);
    const other = stage.another().bottle(made.spec.slug);
    const last = await other.lastOutput();
    assert.ok(last !== undefined && Math.abs(Date.now() - last.getTime()) < 600_000);
    assert.deepEqual(lines(await logOf(other)), ['four', 'one', 'three', 'two']);
  });

  test('can be followed to its end, or until nobody listens any more', async () => {
    await using made = await stage.run({
      command: ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 0.3; done; sleep 0.5'],
    });
    assert.equal(
      await logOf(stage.another().bottle(made.spec.slug), { follow: true }),
      await logOf(made.bottle),
    );
    assert.equal(await logOf(made.bottle), '1\n2\n3\n');
  });

  test('counts what it wrote', async () => {
    await using made = await stage.run();
    const before = await made.bottle.diskUse();
    await said(made.bottle, 'head -c 20000000 /dev/urandom >/x; sync');
    const grown = (await made.bottle.diskUse()) - before;
    assert.ok(grown >= 20_000_000 && grown < 40_000_000, String(grown));
  });

  test('is found again by its labels, with its owner and version', async () => {
    await using made = await stage.make();
    const found = await stage.another().find();
    assert.deepEqual(
      found.filter(({ slug }) => slug === made.spec.slug),
      [{ slug: made.spec.slug, owner: await currentOwner(), version: '1.2.3-test' }],
    );
  });

  test('ends with what bottle-init says of a command that is not there', async () => {
    await using made = await stage.run({ command: ['no-such-command'] });
    assert.equal((await ended(made.bottle)).exitCode, 127);
  });

  test('does not begin for a user that is not there, and leaves nothing', async () => {
    const slug = `test-${randomBytes(4).toString('hex')}`;
    await assert.rejects(stage.make({ slug, user: 'nobody-here' }), (error: Error) => {
      assert.equal(error.name, 'UserUnknown');
      assert.match(error.message, /There is no such user in \/etc\/passwd\./);
      return true;
    });
    assert.equal(await stage.backend.bottle(slug).status(), undefined);
  });

  test('does not begin twice under one name, also not one that smolvm would refuse', async () => {
    const slug = `two--dashes-${randomBytes(4).toString('hex')}`;
    await using made = await stage.make({ slug });
    await assert.rejects(stage.backend.create(made.spec), { name: 'BottleExists', fields: { slug } });
    assert.deepEqual(await made.bottle.status(), { state: 'created' });
  });

  test('leaves nothing when it is interrupted in the making', async () => {
    await using made = await stage.make();
    const slug = `test-${randomBytes(4).toString('hex')}`;
    const interrupt = new AbortController();
    const creation = stage.backend.create({ ...made.spec, slug }, interrupt.signal);
    setTimeout(() => interrupt.abort(new Error('enough')), 500);
    await assert.rejects(creation, /enough/);
    assert.equal(await stage.backend.bottle(slug).status(), undefined);
  });

  test('is one of two at once, which know nothing of each other', async () => {
    const both = await Promise.all(
      ['a', 'b'].map(async (each) => {
        await using made = await stage.run({
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
