import assert from 'node:assert/strict';
import { appendFile, readdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { LockBusy } from '../../src/process/errors.ts';
import { acquireLock, clearDeadLocks, isLocked } from '../../src/process/lock.ts';
import { currentOwner } from '../../src/process/owner.ts';
import { node, temporary } from './child.ts';

/** A lock as a killed process leaves it. */
async function abandon(path: string): Promise<void> {
  const owner = { ...(await currentOwner()), startTime: '1' };
  await symlink(JSON.stringify({ id: 'feedfacefeedface', owner }), path);
}

/** Takes the lock again and again; what it does inside would show a second holder. */
const contender = `
  import { open, appendFile, rm } from 'node:fs/promises';
  import { acquireLock } from 'src/process/lock.ts';
  const [lock, inside, log, rounds] = process.argv.slice(1);
  await new Promise((resolve) => { process.stdin.once('data', resolve); console.log('ready'); });
  process.stdin.destroy();
  for (let round = 0; round < Number(rounds); round += 1) {
    await using held = await acquireLock(lock);
    const alone = await open(inside, 'wx').then((file) => file.close().then(() => true), () => false);
    await appendFile(log, alone ? 'alone\\n' : 'TOGETHER\\n');
    await rm(inside, { force: true });
  }
`;

const holder = `
  import { acquireLock } from 'src/process/lock.ts';
  await acquireLock(process.argv[1]);
  process.stdin.resume();
  console.log('held');
`;

describe('lock', () => {
  test('is given back on disposal and leaves nothing', async () => {
    await using directory = await temporary();
    const path = join(directory.path, 'a.lock');
    {
      await using _held = await acquireLock(path);
      assert.equal(await isLocked(path), true);
    }
    assert.equal(await isLocked(path), false);
    assert.deepEqual(await readdir(directory.path), []);
  });

  test('a second taker is told once who holds it, and gets it afterwards', async () => {
    await using directory = await temporary();
    const path = join(directory.path, 'a.lock');
    const child = node(holder, [path]);
    await child.line();
    const told: number[] = [];
    const second = acquireLock(path, { onWait: (pid) => told.push(pid) });
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(await isLocked(path), true);
    child.kill();
    await using _held = await second;
    assert.deepEqual(told, [child.pid]);
    await child.end();
  });

  test('waiting ends with LockBusy after the limit, and at once with a limit of zero', async () => {
    await using directory = await temporary();
    const path = join(directory.path, 'a.lock');
    await using _held = await acquireLock(path);
    for (const waitMs of [0, 120]) {
      await assert.rejects(
        acquireLock(path, { waitMs }),
        (error) =>
          error instanceof LockBusy && error.fields.pid === process.pid && error.fields.waitedMs >= waitMs,
      );
    }
  });

  test('waiting ends with the reason of the signal', async () => {
    await using directory = await temporary();
    const path = join(directory.path, 'a.lock');
    await using _held = await acquireLock(path);
    const abort = new AbortController();
    const reason = new Error('stop');
    const waiting = acquireLock(path, { signal: abort.signal, onWait: () => abort.abort(reason) });
    await assert.rejects(waiting, (error) => error === reason);
  });

  test('a killed holder loses it at once, without a wait', async () => {
    await using directory = await temporary();
    const path = join(directory.path, 'a.lock');
    const child = node(holder, [path]);
    await child.line();
    child.kill();
    await child.end();
    assert.equal(await isLocked(path), false);
    await using _held = await acquireLock(path, { waitMs: 0 });
    assert.equal(await isLocked(path), true);
  });

  test('the lock of a holder that may be alive elsewhere is never taken over', async () => {
    await using directory = await temporary();
    const path = join(directory.path, 'a.lock');
    const owner = { ...(await currentOwner()), pid: 4_194_304, pidNamespace: 'pid:[1]' };
    await symlink(JSON.stringify({ id: 'x', owner }), path);
    await assert.rejects(acquireLock(path, { waitMs: 0 }), LockBusy);
    await clearDeadLocks(directory.path);
    assert.deepEqual(await readdir(directory.path), ['a.lock']);
  });

  test('twelve processes that all find a dead holder never hold it two at a time', async () => {
    await using directory = await temporary();
    const rounds = 15;
    const lock = join(directory.path, 'a.lock');
    const log = join(directory.path, 'log');
    await abandon(lock);
    const children = Array.from({ length: 12 }, () =>
      node(contender, [lock, join(directory.path, 'inside'), log, String(rounds)]),
    );
    await Promise.all(children.map((child) => child.line()));
    for (const child of children) child.stdin.write('go\n');
    assert.deepEqual(
      await Promise.all(children.map((child) => child.end())),
      children.map(() => 0),
    );
    const lines = (await readFile(log, 'utf8')).trim().split('\n');
    assert.deepEqual(lines, Array(12 * rounds).fill('alone'));
    assert.deepEqual(await readdir(directory.path), ['log']);
  });

  test('holders killed at random never leave two, and the survivors all get their turns', async () => {
    await using directory = await temporary();
    const lock = join(directory.path, 'a.lock');
    const log = join(directory.path, 'log');
    await appendFile(log, '');
    // The victims hold the lock until they are killed; they write nothing, so that the mark inside stays the survivors'.
    const victim = `
      import { acquireLock } from 'src/process/lock.ts';
      console.log('up');
      await acquireLock(process.argv[1]);
      process.stdin.resume();
    `;
    const victims = Array.from({ length: 6 }, () => node(victim, [lock]));
    await Promise.all(victims.map((child) => child.line()));
    const survivors = Array.from({ length: 4 }, () =>
      node(contender, [lock, join(directory.path, 'inside'), log, '10']),
    );
    await Promise.all(survivors.map((child) => child.line()));
    for (const child of survivors) child.stdin.write('go\n');
    for (const child of victims) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
      child.kill();
    }
    await Promise.all([...victims, ...survivors].map((child) => child.end()));
    assert.deepEqual((await readFile(log, 'utf8')).trim().split('\n'), Array(40).fill('alone'));
    await clearDeadLocks(directory.path);
    assert.deepEqual((await readdir(directory.path)).sort(), ['log']);
  });

  test('clearing removes dead locks and leaves live ones', async () => {
    await using directory = await temporary();
    await abandon(join(directory.path, 'dead.lock'));
    await using _held = await acquireLock(join(directory.path, 'live.lock'));
    await clearDeadLocks(directory.path);
    assert.deepEqual(await readdir(directory.path), ['live.lock']);
  });
});
