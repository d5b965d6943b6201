import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { currentOwner, isProvablyDead, isSurelyRunning, ownerOf } from '../../src/process/owner.ts';
import { run } from '../../src/process/run.ts';
import { node, until } from './child.ts';

describe('owner', () => {
  test('this process is alive and named the same every time', async () => {
    const me = await currentOwner();
    assert.equal(me.pid, process.pid);
    assert.deepEqual(await ownerOf(process.pid), me);
    assert.equal(await isProvablyDead(me), false);
  });

  test('another live process is alive, and dead once it is gone', async () => {
    const child = node(`process.stdin.resume(); console.log('up');`);
    await child.line();
    const owner = await ownerOf(child.pid);
    assert.ok(owner !== undefined);
    assert.equal(await isProvablyDead(owner), false);
    child.kill();
    await child.end();
    assert.equal(await isProvablyDead(owner), true);
    assert.equal(await ownerOf(child.pid), undefined);
  });

  test('a zombie is dead although its pid is still taken', async () => {
    // The shell starts a child and then becomes a program that never waits for it; the child ends only after that.
    const parent = spawn('bash', ['-c', 'sleep 0.5 & echo $!; exec sleep 300'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const [printed] = await once(parent.stdout, 'data');
      const pid = Number(String(printed));
      await until(async () => (await run('ps', ['-o', 'stat=', '-p', String(pid)])).stdout.startsWith('Z'));
      assert.equal(await ownerOf(pid), undefined);
    } finally {
      parent.kill('SIGKILL');
    }
  });

  test('a pid that now belongs to a younger process is dead', async () => {
    const me = await currentOwner();
    assert.equal(await isProvablyDead({ ...me, startTime: '1' }), true);
  });

  test('whatever ran before this boot is dead', async () => {
    const me = await currentOwner();
    assert.equal(await isProvablyDead({ ...me, bootId: 'another' }), true);
  });

  test('a pid of another namespace cannot be looked up, so it is not dead', async () => {
    const me = await currentOwner();
    assert.equal(await isProvablyDead({ ...me, pid: 4_194_304, pidNamespace: 'pid:[1]' }), false);
  });

  test('a process of another machine cannot be looked up, so it is not dead, whatever its boot', async () => {
    const me = await currentOwner();
    assert.equal(await isProvablyDead({ ...me, machine: 'another', bootId: 'another' }), false);
    assert.equal(await isSurelyRunning({ ...me, machine: 'another' }), false);
  });

  test('only that very process is surely running', async () => {
    const me = await currentOwner();
    assert.equal(await isSurelyRunning(me), true);
    assert.equal(await isSurelyRunning({ ...me, startTime: '1' }), false);
    assert.equal(await isSurelyRunning({ ...me, bootId: 'another' }), false);
    assert.equal(await isSurelyRunning({ ...me, pidNamespace: 'pid:[1]' }), false);
  });

  test('a command name with spaces and parentheses does not confuse the start time', async () => {
    const child = node(`process.title = 'a ) R 1 2 3 (b'; process.stdin.resume(); console.log('up');`);
    await child.line();
    const before = await ownerOf(child.pid);
    assert.match(before?.startTime ?? '', /^\d{3,}$/);
    child.kill();
    await child.end();
  });
});
