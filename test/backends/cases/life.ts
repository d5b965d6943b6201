import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bottle, BottleStatus } from '../../../src/backends/backend.ts';
import { currentOwner } from '../../../src/process/owner.ts';
import { said, type Stage, version } from '../stage.ts';
import type { Cases } from './case.ts';

/** How it ended, as soon as it has. */
export async function ended(bottle: Bottle): Promise<BottleStatus> {
  for (;;) {
    const status = await bottle.status();
    if (status?.state === 'exited') return status;
    await sleep(20);
  }
}

export async function logOf(
  bottle: Bottle,
  options: { readonly tail?: number; readonly follow?: boolean } = {},
): Promise<string> {
  await using log = bottle.logs({ follow: false, ...options });
  const chunks = await log.stdout.toArray();
  await log.done;
  return Buffer.concat(chunks as Buffer[]).toString('utf8');
}

async function logShows(bottle: Bottle, text: string): Promise<void> {
  while (!(await logOf(bottle)).includes(text)) await sleep(50);
}

const linesOf = (text: string) => text.trim().split('\n').sort();

interface Given {
  readonly stage: Stage;
  /** Milliseconds after which the making of a bottle is in its middle. */
  readonly makingMs: number;
}

export const lifeCases: Cases<Given> = {
  'goes from created to running to exited to gone': async ({ stage }) => {
    const waits = 'until [ -e /tmp/go ]; do sleep 0.1; done; exit 9';
    await using made = await stage.make({ command: ['sh', '-c', waits] });
    const { bottle } = made;
    const elsewhere = stage.another().bottle(made.spec.slug);
    assert.deepEqual(await bottle.status(), { state: 'created' });
    await bottle.start();
    const running = await bottle.status();
    assert.equal(running?.state, 'running');
    assert.match(running.startedAt ?? '', /^2\d{3}-.*Z$/);
    assert.equal((await elsewhere.status())?.state, 'running');
    await said(bottle, 'touch /tmp/go');
    const { exitCode, outOfMemory = false } = await ended(bottle);
    assert.deepEqual([exitCode, outOfMemory], [9, false]);
    assert.equal((await elsewhere.status())?.exitCode, 9);
    await bottle.stop(1000);
    assert.equal((await bottle.status())?.exitCode, 9);
    await bottle.remove();
    assert.equal(await bottle.status(), undefined);
    await bottle.remove();
    await bottle.stop(1000);
  },

  'ends politely, and by force after the grace': async ({ stage }) => {
    await using polite = await stage.run({
      command: ['sh', '-c', 'trap "exit 5" TERM; echo set; while :; do sleep 0.1; done'],
    });
    await using stubborn = await stage.run({
      command: ['sh', '-c', 'trap "" TERM HUP; echo set; while :; do sleep 0.1; done'],
    });
    for (const { bottle } of [polite, stubborn]) await logShows(bottle, 'set');
    await Promise.all([polite.bottle.stop(20_000), stubborn.bottle.stop(1_000)]);
    assert.equal((await polite.bottle.status())?.exitCode, 5);
    assert.equal((await stubborn.bottle.status())?.exitCode, 137);
    await polite.bottle.stop(1_000);
  },

  'leaves a log of both streams, its end, and when it last grew': async ({ stage }) => {
    await using made = await stage.run({
      command: ['sh', '-c', 'echo one; echo two >&2; echo three; echo four >&2; sleep 3600'],
    });
    await logShows(made.bottle, 'four');
    for (const bottle of [made.bottle, stage.another().bottle(made.spec.slug)]) {
      assert.deepEqual(linesOf(await logOf(bottle)), ['four', 'one', 'three', 'two']);
      assert.equal(linesOf(await logOf(bottle, { tail: 2 })).length, 2);
      const last = await bottle.lastOutput();
      assert.ok(last !== undefined && Math.abs(Date.now() - last.getTime()) < 600_000);
    }
    await using silent = await stage.run();
    assert.equal(await silent.bottle.lastOutput(), undefined);
  },

  'can be followed to its end, or until nobody listens any more': async ({ stage }) => {
    await using made = await stage.run({
      command: ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 0.3; done; sleep 0.5'],
    });
    assert.equal(await logOf(stage.another().bottle(made.spec.slug), { follow: true }), '1\n2\n3\n');
    assert.equal(await logOf(made.bottle), '1\n2\n3\n');
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
  },

  'counts what it wrote': async ({ stage }) => {
    await using made = await stage.run();
    const before = await made.bottle.diskUse();
    await said(made.bottle, 'head -c 20000000 /dev/urandom >/x; sync /x');
    let grown = 0;
    while (grown < 20_000_000) grown = (await made.bottle.diskUse()) - before;
    assert.ok(grown < 30_000_000, String(grown));
  },

  'is found again by its label, with its owner and version': async ({ stage }) => {
    await using made = await stage.make();
    const found = (await stage.another().find()).filter(({ slug }) => slug === made.spec.slug);
    assert.deepEqual(found, [{ slug: made.spec.slug, owner: await currentOwner(), version }]);
  },

  'ends with what bottle-init says of a command that is not there, or none': async ({ stage }) => {
    await using noCommand = await stage.run({ command: ['no-such-command'] });
    assert.equal((await ended(noCommand.bottle)).exitCode, 127);
    await using noProgram = await stage.run({ command: ['/etc/passwd'] });
    assert.equal((await ended(noProgram.bottle)).exitCode, 126);
  },

  'does not begin twice under one name': async ({ stage }) => {
    // Which smolvm would refuse as the name of a machine.
    const slug = `two--dashes-${randomBytes(4).toString('hex')}`;
    await using made = await stage.make({ slug });
    await assert.rejects(stage.backend.create(made.spec), { name: 'BottleExists', fields: { slug } });
    assert.deepEqual(await made.bottle.status(), { state: 'created' });
  },

  'leaves nothing when it is interrupted in the making': async ({ stage, makingMs }) => {
    await using made = await stage.make();
    const slug = `test-${randomBytes(4).toString('hex')}`;
    for (const part of [0, 0.3, 0.6, 1]) {
      const interrupt = new AbortController();
      const creation = stage.backend.create({ ...made.spec, slug }, interrupt.signal);
      const timer = setTimeout(() => interrupt.abort(new Error('enough')), part * makingMs);
      const whole = await creation.catch((error: unknown) => {
        assert.match(String(error), /enough/);
      });
      clearTimeout(timer);
      // On a quick host it is made before that.
      assert.ok(whole === undefined || part > 0);
      await whole?.remove();
      assert.equal(await stage.backend.bottle(slug).status(), undefined);
    }
  },
};
