import assert from 'node:assert/strict';
import { appendFile, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { AuditLog, type AuditRecord, formatRecord } from '../../src/gate/audit.ts';
import { readAudit, type ReadAuditOptions } from '../../src/gate/audit-reader.ts';
import { describeRecord } from '../../src/gate/audit-words.ts';
import { AuditUnreadable } from '../../src/gate/errors.ts';

const record = (n: number, more: Partial<AuditRecord> = {}): AuditRecord => ({
  time: '2026-01-31T12:00:00.000Z',
  slug: 'demo-x1y2z',
  event: 'request',
  decision: 'allow',
  in: n,
  out: 0,
  ms: 1.5,
  ...more,
});

async function place() {
  const directory = await mkdtemp(join(tmpdir(), 'gate-audit-'));
  return {
    directory,
    path: join(directory, 'gate.jsonl'),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

async function numbers(path: string, options?: ReadAuditOptions): Promise<number[]> {
  const seen: number[] = [];
  for await (const one of readAudit(path, options)) seen.push(one.in);
  return seen;
}

const unwritable = (failure: Error) => {
  throw failure;
};

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

describe('reading the log', () => {
  test('goes through the files that were put aside, the oldest first', async () => {
    await using at = await place();
    using log = new AuditLog({ path: at.path, maxBytes: 400, keep: 4 }, unwritable);
    for (const n of upTo(10)) {
      log.record(record(n));
      log.flush();
    }
    const seen = await numbers(at.path);
    assert.ok(seen.length >= 6);
    assert.deepEqual(seen, upTo(10).slice(-seen.length));
  });

  test('without a log there is nothing to read', async () => {
    await using at = await place();
    assert.deepEqual(await numbers(at.path), []);
    assert.deepEqual(await numbers(join(at.directory, 'none/gate.jsonl')), []);
  });

  test('what is no record is passed over, and so is a line that was never finished', async () => {
    await using at = await place();
    const torn = formatRecord(record(9)).slice(0, 40);
    await writeFile(
      at.path,
      `${formatRecord(record(0))}${torn}${formatRecord(record(7))}{}\n[\n\0\n${'x'.repeat(200_000)}\n${formatRecord(record(1))}${torn}`,
    );
    assert.deepEqual(await numbers(at.path), [0, 1]);
  });

  test('a link in its place is not followed', async () => {
    await using at = await place();
    await writeFile(join(at.directory, 'other'), formatRecord(record(0)));
    await symlink('other', at.path);
    await assert.rejects(
      numbers(at.path),
      (error) => error instanceof AuditUnreadable && error.fields.code === 'ELOOP',
    );
  });
});

describe('following the log', () => {
  test('a line is seen once it is whole, and the end comes with the signal', async () => {
    await using at = await place();
    const stop = new AbortController();
    const reading = readAudit(at.path, { follow: true, signal: stop.signal });
    const first = reading.next();
    await turn();
    const text = formatRecord(record(1));
    await writeFile(at.path, text.slice(0, 30));
    await appendFile(at.path, text.slice(30));
    assert.equal((await first).value?.in, 1);
    const second = reading.next();
    await appendFile(at.path, formatRecord(record(2)));
    assert.equal((await second).value?.in, 2);
    const end = reading.next();
    stop.abort();
    assert.equal((await end).done, true);
  });

  test('a reader that begins while files are put aside begins with the oldest', async () => {
    for (const _ of upTo(5)) {
      await using at = await place();
      using log = new AuditLog({ path: at.path, maxBytes: 1, keep: 200 }, unwritable);
      log.record(record(0));
      log.flush();
      const reading = readAudit(at.path);
      const first = reading.next();
      for (const n of upTo(100)) {
        log.record(record(n + 1));
        await turn();
      }
      assert.equal((await first).value?.in, 0);
      await reading.return();
    }
  });

  test('nothing is lost or repeated while files are put aside', async () => {
    await using at = await place();
    // Enough files that a slow reader's is not dropped.
    using log = new AuditLog({ path: at.path, maxBytes: 10_000, keep: 60 }, unwritable);
    const stop = new AbortController();
    const count = 3000;
    const seen: number[] = [];
    const reading = (async () => {
      for await (const one of readAudit(at.path, {
        follow: true,
        signal: AbortSignal.any([stop.signal, AbortSignal.timeout(60_000)]),
      })) {
        seen.push(one.in);
        if (seen.length === count) stop.abort();
      }
    })();
    for (const n of upTo(count)) {
      log.record(record(n));
      if (n % 3 === 0) await turn();
    }
    await reading;
    assert.deepEqual(seen, upTo(count));
  });

  test('a reader whose file was dropped goes on with the oldest that is left', async () => {
    await using at = await place();
    await writeFile(at.path, formatRecord(record(0)));
    const reading = readAudit(at.path, { follow: true, signal: AbortSignal.timeout(20_000) });
    assert.equal((await reading.next()).value?.in, 0);
    await rm(at.path);
    await writeFile(`${at.path}.1`, formatRecord(record(5)));
    await writeFile(at.path, formatRecord(record(6)));
    assert.equal((await reading.next()).value?.in, 5);
    assert.equal((await reading.next()).value?.in, 6);
    await reading.return();
  });
});

describe('a record in words', () => {
  for (const [name, one, words] of [
    [
      'a request',
      record(12_345, {
        host: 'a.example',
        port: 80,
        method: 'GET',
        path: '/x',
        status: 200,
        rule: 'allow a.example',
        origin: 'bottles/dev.md:3',
      }),
      '2026-01-31T12:00:00Z allow GET http://a.example/x 200, 12 kB in, 0 B out, 2 ms (allow a.example, bottles/dev.md:3)',
    ],
    [
      'a refused tunnel',
      record(0, {
        decision: 'deny',
        host: 'b.example',
        port: 443,
        method: 'CONNECT',
        reason: 'no-rule',
        status: 403,
      }),
      '2026-01-31T12:00:00Z deny  tunnel b.example:443 403, no-rule, 0 B in, 0 B out, 2 ms',
    ],
    [
      'a change of the policy',
      record(0, { event: 'policy', rule: 'allow c.example', origin: 'claude-bottle allow' }),
      '2026-01-31T12:00:00Z allow policy changed: allow c.example (claude-bottle allow)',
    ],
    [
      'the seal check',
      record(0, { event: 'seal', decision: 'fail', reason: 'no-tcp', ms: 41 }),
      '2026-01-31T12:00:00Z fail  seal check no-tcp, 41 ms',
    ],
    [
      'what could not be read',
      record(0, { decision: 'deny', reason: 'malformed', status: 400 }),
      '2026-01-31T12:00:00Z deny  a request that cannot be read 400, malformed, 0 B in, 0 B out, 2 ms',
    ],
  ] as const) {
    test(`${name} is one line`, () => assert.equal(describeRecord(one), words));
  }
  test('holds nothing that a terminal acts on', () => {
    const hostile = '\x1b[2J\r\n\x9b31m\u202e\u2028\0';
    const line = describeRecord(
      record(0, {
        time: hostile,
        host: hostile,
        port: 1,
        method: hostile,
        path: hostile,
        rule: hostile,
        origin: hostile,
        reason: hostile,
      }),
    );
    assert.doesNotMatch(line, /[\p{C}\u2028\u2029]/u);
  });
});
