import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { lastOutputIn, readSessionLog, SessionLog } from '../../../src/backends/smolmachines/session-log.ts';

async function place(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function textOf(path: string, options: { tail?: number } = {}): Promise<string> {
  await using log = readSessionLog(path, { follow: false, isOver: () => Promise.resolve(true), ...options });
  const chunks = await log.stdout.toArray();
  await log.done;
  return Buffer.concat(chunks as Buffer[]).toString();
}

describe('the log of a session', () => {
  test('has what was printed, and its last lines across files', async () => {
    await using at = await place();
    using log = await SessionLog.open(at.path, { fileBytes: 8 });
    for (const text of ['one\n', 'two\n', 'thr', 'ee\n', 'four']) log.append(Buffer.from(text));
    assert.equal(await textOf(at.path), 'one\ntwo\nthree\nfour');
    assert.equal(await textOf(at.path, { tail: 1 }), 'four');
    assert.equal(await textOf(at.path, { tail: 2 }), 'three\nfour');
    assert.equal(await textOf(at.path, { tail: 3 }), 'two\nthree\nfour');
    assert.equal(await textOf(at.path, { tail: 99 }), 'one\ntwo\nthree\nfour');
    assert.equal(await textOf(at.path, { tail: 0 }), '');
    log.append(Buffer.from('\n'));
    assert.equal(await textOf(at.path, { tail: 1 }), 'four\n');
  });

  test('keeps four files, the newest, and goes on where it was', async () => {
    await using at = await place();
    for (let number = 0; number < 10; number++) {
      using log = await SessionLog.open(at.path, { fileBytes: 4 });
      log.append(Buffer.from(`${number}${number}\n`));
    }
    assert.equal((await readdir(at.path)).length, 4);
    assert.equal(await textOf(at.path), '66\n77\n88\n99\n');
  });

  test('tells when something was printed last', async () => {
    await using at = await place();
    assert.equal(await lastOutputIn(at.path), undefined);
    using log = await SessionLog.open(at.path);
    assert.equal(await lastOutputIn(at.path), undefined);
    log.append(Buffer.from('x'));
    const last = await lastOutputIn(at.path);
    assert.ok(last !== undefined && Math.abs(Date.now() - last.getTime()) < 10_000);
  });

  test('can be followed to the end through every change of file', async () => {
    await using at = await place();
    using log = await SessionLog.open(at.path, { fileBytes: 10 });
    let isOver = false;
    const followed = readSessionLog(at.path, { follow: true, isOver: () => Promise.resolve(isOver) });
    const chunks = followed.stdout.toArray();
    let all = '';
    for (let number = 0; number < 20; number++) {
      log.append(Buffer.from(`line ${number}\n`));
      all += `line ${number}\n`;
      await sleep(60);
    }
    isOver = true;
    assert.equal(Buffer.concat((await chunks) as Buffer[]).toString(), all);
    assert.equal((await followed.done).code, 0);
  });

  test('is let go of by who stops reading, and says why when told to stop', async () => {
    await using at = await place();
    const never = () => Promise.resolve(false);
    {
      await using _log = readSessionLog(at.path, { follow: true, isOver: never });
    }
    const interrupt = new AbortController();
    const log = readSessionLog(at.path, { follow: true, isOver: never, signal: interrupt.signal });
    interrupt.abort(new Error('enough'));
    await assert.rejects(log.done, /enough/);
  });
});
