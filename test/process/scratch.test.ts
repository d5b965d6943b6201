import assert from 'node:assert/strict';
import { appendFile, chown, mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { currentOwner } from '../../src/process/owner.ts';
import { hasLiveOwners, type Leftover, reap, Scratch } from '../../src/process/scratch.ts';
import { node, temporary } from './child.ts';

/** Makes a scratch directory, notes two things and waits to be killed. */
const maker = `
  import { Scratch } from 'src/process/scratch.ts';
  import { writeFile } from 'node:fs/promises';
  const scratch = await Scratch.create(process.argv[1]);
  await writeFile(scratch.file('half'), 'half');
  for (const name of ['first', 'second']) {
    await scratch.expect({ kind: 'container', engine: { command: 'docker', env: {} }, name });
  }
  process.stdin.resume();
  console.log(scratch.path);
`;

const names = (left: readonly Leftover[]) =>
  left.map((one) => (one.kind === 'container' ? one.name : one.kind));

describe('scratch', () => {
  test('is for us alone, and goes with everything in it', async () => {
    await using directory = await temporary();
    const root = join(directory.path, 'tmp');
    {
      await using scratch = await Scratch.create(root);
      assert.equal((await stat(scratch.path)).mode & 0o777, 0o700);
      await mkdir(scratch.file('deep'));
      await writeFile(join(scratch.file('deep'), 'file'), 'x');
    }
    assert.deepEqual(await readdir(root), []);
  });

  test('two of one process do not share a directory', async () => {
    await using directory = await temporary();
    await using one = await Scratch.create(directory.path);
    await using two = await Scratch.create(directory.path);
    assert.notEqual(one.path, two.path);
  });

  test('a live owner keeps its directory, a killed one is reaped, newest leftover first', async () => {
    await using directory = await temporary();
    await using mine = await Scratch.create(directory.path);
    const child = node(maker, [directory.path]);
    const path = await child.line();
    const undone: Leftover[] = [];
    const undo = async (leftover: Leftover) => {
      undone.push(leftover);
    };
    assert.equal(await reap(directory.path, undo), 0);
    assert.equal(await readFile(join(path, 'half'), 'utf8'), 'half');
    child.kill();
    await child.end();
    assert.equal(await reap(directory.path, undo), 1);
    assert.deepEqual(names(undone), ['second', 'first']);
    assert.deepEqual(await readdir(directory.path), [mine.path.slice(directory.path.length + 1)]);
  });

  test('a leftover that cannot be undone is tried again by the next', async () => {
    await using directory = await temporary();
    const child = node(maker, [directory.path]);
    await child.line();
    child.kill();
    await child.end();
    const refuse = async () => {
      throw new Error('the engine does not answer');
    };
    assert.equal(await reap(directory.path, refuse), 0);
    const undone: Leftover[] = [];
    assert.equal(await reap(directory.path, async (leftover) => void undone.push(leftover)), 1);
    assert.deepEqual(names(undone), ['second', 'first']);
  });

  test('a journal cut in its last line loses that line only', async () => {
    await using directory = await temporary();
    const child = node(maker, [directory.path]);
    const path = await child.line();
    child.kill();
    await child.end();
    await appendFile(join(path, 'leftovers.jsonl'), '{"kind":"contai');
    const undone: Leftover[] = [];
    await reap(directory.path, async (leftover) => void undone.push(leftover));
    assert.deepEqual(names(undone), ['second', 'first']);
  });

  test('a leftover that cannot be undone holds up neither the others nor the room they take', async () => {
    await using directory = await temporary();
    const child = node(maker, [directory.path]);
    const path = await child.line();
    child.kill();
    await child.end();
    const undone: Leftover[] = [];
    const undo = async (leftover: Leftover) => {
      if (names([leftover])[0] === 'second') throw new Error('its engine does not answer');
      undone.push(leftover);
    };
    assert.equal(await reap(directory.path, undo), 0);
    assert.deepEqual(names(undone), ['first']);
    assert.deepEqual((await readdir(path)).sort(), ['leftovers.jsonl', 'owner.json']);
    const then: Leftover[] = [];
    assert.equal(await reap(directory.path, async (leftover) => void then.push(leftover)), 1);
    assert.deepEqual(names(then), ['second']);
  });

  test('what could not be undone is left to the next command, with nothing else', async () => {
    await using directory = await temporary();
    const child = node(
      `
      import { Scratch } from 'src/process/scratch.ts';
      import { writeFile } from 'node:fs/promises';
      {
        await using scratch = await Scratch.create(process.argv[1]);
        await writeFile(scratch.file('big'), 'big');
        await scratch.expect({ kind: 'container', engine: { command: 'docker', env: {} }, name: 'stays' });
        await scratch.undo(() => Promise.reject(new Error('gone'))).catch(() => undefined);
      }
      console.log('done');
    `,
      [directory.path],
    );
    await child.line();
    await child.end();
    const [name = ''] = await readdir(directory.path);
    assert.deepEqual((await readdir(join(directory.path, name))).sort(), ['leftovers.jsonl', 'owner.json']);
    const undone: Leftover[] = [];
    assert.equal(await reap(directory.path, async (leftover) => void undone.push(leftover)), 1);
    assert.deepEqual(names(undone), ['stays']);
  });

  test('an aborted reap ends, and what it did not get to stays for the next', async () => {
    await using directory = await temporary();
    const child = node(maker, [directory.path]);
    await child.line();
    child.kill();
    await child.end();
    const aborted = AbortSignal.abort(new Error('enough'));
    await assert.rejects(
      reap(directory.path, async () => undefined, { signal: aborted }),
      /enough/,
    );
    assert.equal(await reap(directory.path, async () => undefined), 1);
  });

  test('what another user wrote is neither followed nor removed', async () => {
    await using directory = await temporary();
    const child = node(maker, [directory.path]);
    const path = await child.line();
    child.kill();
    await child.end();
    await chown(path, 65_534, 65_534);
    const undone: Leftover[] = [];
    assert.equal(await reap(directory.path, async (leftover) => void undone.push(leftover)), 0);
    assert.deepEqual(undone, []);
    assert.equal(await hasLiveOwners(directory.path), true);
  });

  test('a directory whose maker died before it signed goes once nobody can be signing it any more', async () => {
    await using directory = await temporary();
    await mkdir(join(directory.path, '.4194304-00000000'));
    await mkdir(join(directory.path, `.${process.pid}-00000000`));
    await mkdir(join(directory.path, `.${process.pid}-00000001`));
    const longAgo = new Date(Date.now() - 120_000);
    await utimes(join(directory.path, `.${process.pid}-00000000`), longAgo, longAgo);
    await reap(directory.path, async () => undefined);
    assert.deepEqual(await readdir(directory.path), [`.${process.pid}-00000001`]);
  });

  test('what is not named like ours is neither reaped nor a live owner', async () => {
    await using directory = await temporary();
    await mkdir(join(directory.path, 'notes'));
    await writeFile(join(directory.path, '.DS_Store'), '');
    assert.equal(await reap(directory.path, async () => undefined), 0);
    assert.equal(await hasLiveOwners(directory.path), false);
    assert.equal((await readdir(directory.path)).length, 2);
  });

  test('live owners are seen, except the one that asks', async () => {
    await using directory = await temporary();
    assert.equal(await hasLiveOwners(join(directory.path, 'absent')), false);
    await using mine = await Scratch.create(directory.path);
    assert.equal(await hasLiveOwners(directory.path, mine), false);
    assert.equal(await hasLiveOwners(directory.path), true);
    const child = node(maker, [directory.path]);
    await child.line();
    assert.equal(await hasLiveOwners(directory.path, mine), true);
    child.kill();
    await child.end();
    assert.equal(await hasLiveOwners(directory.path, mine), false);
  });

  test('a process of an earlier boot with our own pid is dead', async () => {
    await using directory = await temporary();
    const path = join(directory.path, `${process.pid}-0badcafe`);
    await mkdir(path);
    await writeFile(
      join(path, 'owner.json'),
      JSON.stringify({ ...(await currentOwner()), bootId: 'earlier' }),
    );
    assert.equal(await reap(directory.path, async () => undefined), 1);
  });
});
