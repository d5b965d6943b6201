import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SealBroken } from '../../src/gate/errors.ts';
import { ownGreeting } from '../../src/gate/own-name.ts';
import { makeRule } from '../../src/gate/rule.ts';
import { evaluateSeal, judgeSeal, probeArguments, sealChecks } from '../../src/gate/seal.ts';
import { raw, reasons, startGate, type TestGate } from './world.ts';

const checks = sealChecks('canary-1.invalid');
const good = checks.map(({ name, expected, proofs }) => ({
  check: name,
  outcome: expected,
  detail: proofs?.[0] ?? '',
}));
const lines = (reports: readonly object[]) => reports.map((report) => JSON.stringify(report)).join('\n');

test('the six checks are six attempts of one command', () => {
  assert.deepEqual(probeArguments(checks), [
    'gate-answers=proxy:http://gate.claude-bottle.internal/',
    'canary-refused=proxy:http://canary-1.invalid/',
    'no-direct-name=direct:http://canary-1.invalid/',
    'no-tcp=tcp:1.1.1.1:443',
    'no-dns=udp:1.1.1.1:53:canary-1.invalid',
    'no-metadata=tcp:169.254.169.254:80',
  ]);
  assert.notEqual(sealChecks()[1]!.attempt, sealChecks()[1]!.attempt);
});

describe('evaluation', () => {
  test('all as expected passes', () =>
    assert.ok(evaluateSeal(checks, lines(good)).every(({ passed }) => passed)));
  for (const [i, { name, expected }] of checks.entries()) {
    for (const outcome of ['answered', 'refused', 'failed', 'error'].filter((one) => one !== expected)) {
      test(`${name} that is ${outcome} is a miss`, () => {
        const results = evaluateSeal(
          checks,
          lines(good.with(i, { ...good[i]!, outcome: outcome as 'failed' })),
        );
        assert.deepEqual(
          results.map(({ passed }) => passed),
          checks.map((_, n) => n !== i),
        );
      });
    }
    test(`${name} without a report, or with two, is a miss`, () => {
      assert.equal(evaluateSeal(checks, lines(good.toSpliced(i, 1)))[i]!.passed, false);
      assert.equal(evaluateSeal(checks, lines([...good, good[i]!]))[i]!.passed, false);
    });
  }
  test('an answer of somebody else is not the gate', () => {
    assert.equal(
      evaluateSeal(checks, lines(good.with(0, { ...good[0]!, detail: 'hello' })))[0]!.passed,
      false,
    );
  });
  for (const detail of ['Connection refused', 'Connection timed out', 'no answer', '']) {
    test(`a failure that a firewall could be the cause of is no proof: ${detail || 'nothing said'}`, () => {
      const firewalled = good.map((one, i) => (i < 3 ? one : { ...one, detail }));
      assert.deepEqual(
        evaluateSeal(checks, lines(firewalled)).map(({ passed }) => passed),
        [true, true, true, false, false, false],
      );
    });
  }
  test('noise passes nothing', () => {
    assert.ok(evaluateSeal(checks, 'sh: not found\n{"check":1}\n[]\n').every(({ passed }) => !passed));
  });
  test('what the bottle says is shown without control characters', () => {
    const [result] = evaluateSeal(checks, lines(good.with(0, { ...good[0]!, detail: '\x1b[2J\u202e' })));
    assert.match(result!.observed, /^[\x20-\x7e]*$/);
  });
});

describe('the gate, as the probe meets it', () => {
  test('answers for its own name, lists its policy, and resolves nothing', async () => {
    await using gate = await startGate({
      rules: [],
      network: {
        resolve: () => Promise.reject(new Error('asked')),
        connect: () => assert.fail(),
        ownAddresses: () => [],
      },
    });
    const ask = (path: string) =>
      raw(
        gate.socketPath,
        `GET http://gate.claude-bottle.internal${path} HTTP/1.1\r\nHost: gate.claude-bottle.internal\r\nConnection: close\r\n\r\n`,
      );
    assert.ok((await ask('/')).includes(`\r\n\r\n${ownGreeting}\ndemo-x1y2z\n`));
    assert.match(await ask('/policy'), /200 OK/);
    assert.match(await ask('/etc/passwd'), /404 Not Found/);
  });
  test('refuses the canary even if every host is allowed', async () => {
    await using gate = await startGate({
      rules: [
        makeRule(
          { host: '**' },
          { action: 'allow', origin: { kind: 'file', path: 'b.md', line: 1 }, iKnow: true },
        ),
      ],
    });
    const answer = await raw(
      gate.socketPath,
      'GET http://canary-1.invalid/ HTTP/1.1\r\nHost: canary-1.invalid\r\nConnection: close\r\n\r\n',
    );
    assert.deepEqual(reasons(answer), ['no-rule']);
  });
});

describe('the judgement at launch', () => {
  const judge = (gate: TestGate, report: string) =>
    judgeSeal({ gate: gate.gate, slug: 'demo-x1y2z', checks, report, began: performance.now() - 40 });
  const verdicts = async (gate: TestGate) =>
    (await gate.log()).map(({ event, decision, reason }) => [event, decision, reason]);
  test('counts what passed and from when it began, and is in the log', async () => {
    await using gate = await startGate({ rules: [] });
    const { checks: passed, ms } = judge(gate, lines(good));
    assert.equal(passed, 6);
    assert.ok(ms >= 40);
    assert.deepEqual(await verdicts(gate), [['seal', 'allow', undefined]]);
    assert.ok((await gate.log())[0]!.ms >= 40);
  });
  test('a miss is a failure that says which', async () => {
    await using gate = await startGate({ rules: [] });
    const report = good.map((one) =>
      one.check === 'no-tcp' ? { ...one, outcome: 'answered', detail: 'connected' } : one,
    );
    assert.throws(
      () => judge(gate, lines(report)),
      (error) => {
        assert.ok(error instanceof SealBroken);
        assert.deepEqual(error.fields.missed, [
          {
            check: 'a TCP connection to a public address fails',
            expected: 'failed',
            observed: 'answered: connected',
          },
        ]);
        return true;
      },
    );
    assert.deepEqual(await verdicts(gate), [['seal', 'fail', 'no-tcp']]);
  });
  test('a bottle that says nothing passes nothing', async () => {
    await using gate = await startGate({ rules: [] });
    assert.throws(() => judge(gate, ''), SealBroken);
    assert.equal((await verdicts(gate))[0]![2], checks.map(({ name }) => name).join(' '));
  });
  test('no checks at all are no proof', async () => {
    await using gate = await startGate({ rules: [] });
    assert.throws(
      () => judgeSeal({ gate: gate.gate, slug: 'x', checks: [], report: '', began: performance.now() }),
      SealBroken,
    );
  });
});
