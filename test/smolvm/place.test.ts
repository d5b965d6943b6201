import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Scratch } from '../../src/process/scratch.ts';
import { machinesBelow, stopMachinesBelow } from '../../src/smolvm/vm-processes.ts';
import { choosePlace, openWorkPlace } from '../../src/smolvm/place.ts';

describe('the place of a machine', () => {
  const short = { path: '/short', traversable: false };
  const walkable = { path: '/walkable', traversable: true };
  const long = { path: `/${'x'.repeat(66)}`, traversable: true };

  test('is the first that suits', () => {
    assert.equal(choosePlace([short, walkable], { traversable: false }), short);
    assert.equal(choosePlace([short, walkable], { traversable: true }), walkable);
    assert.equal(choosePlace([long, walkable], { traversable: false }), walkable);
  });

  test('is the first of all when none suits, so that smolvm says why', () => {
    assert.equal(choosePlace([long, short], { traversable: true }), long);
  });

  test('counts the bytes of its path, not the characters', () => {
    const accents = { path: `/${'é'.repeat(40)}`, traversable: true };
    assert.equal(choosePlace([accents, walkable], { traversable: false }), walkable);
  });

  test('is journalled before it exists, passable if need be, and gone after', async () => {
    const root = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
    await using scratch = await Scratch.create(root);
    let path: string;
    {
      await using place = await openWorkPlace(scratch, true);
      path = place.path;
      assert.match(await readFile(scratch.file('leftovers.jsonl'), 'utf8'), new RegExp(`"path":"${path}"`));
      assert.equal((await stat(path)).mode & 0o777, 0o711);
      assert.ok(!path.startsWith(scratch.path), 'a 0700 directory cannot be walked through');
    }
    await assert.rejects(stat(path), { code: 'ENOENT' });
    await rm(root, { recursive: true });
  });
});

describe('stopping the machines below a directory', () => {
  const machine = (file: string) => {
    // Not a VM, but a process with a VM's command line, that does not hear SIGTERM.
    const code = "process.on('SIGTERM', () => 0); process.stdout.write('up'); setInterval(() => 0, 1000)";
    return spawn(process.execPath, ['-e', code, '_boot-vm', file], {
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  };

  test('kills those, and no other', async () => {
    const root = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
    const [inside, sibling] = [join(root, 'one'), join(root, 'one-more')];
    await Promise.all([inside, sibling].map((path) => mkdir(path)));
    const [ours, other] = [
      machine(join(inside, 'smolvm/vms/0/boot-config.json')),
      machine(join(sibling, 'boot-config.json')),
    ];
    try {
      await Promise.all([ours, other].map((child) => once(child.stdout, 'data')));
      const ended = once(ours, 'exit');
      assert.deepEqual(
        (await machinesBelow(inside)).map(({ pid }) => pid),
        [ours.pid],
      );
      assert.equal(await stopMachinesBelow(inside), 1);
      assert.deepEqual(await ended, [null, 'SIGKILL']);
      assert.equal(other.exitCode ?? other.signalCode, null);
      assert.equal(await stopMachinesBelow(inside), 0);
    } finally {
      ours.kill('SIGKILL');
      other.kill('SIGKILL');
      await rm(root, { recursive: true });
    }
  });
});
