import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SealBroken } from '../../src/gate/errors.ts';
import { ownGreeting } from '../../src/gate/own-name.ts';
import { makeRule } from '../../src/gate/rule.ts';
import { checkSeal, evaluateSeal, probeCommand, sealChecks } from '../../src/gate/seal.ts';
import { raw, reasons, startGate } from './world.ts';

const checks = sealChecks('canary-1.invalid');
const good = checks.map(({ name, expected, proof }) => ({
  check: name,
  outcome: expected,
  detail: proof ?? '',
}));
const lines = (reports: readonly object[]) => reports.map((report) => JSON.stringify(report)).join('\n');

test('the six checks are six attempts of one command', () => {
  assert.deepEqual(probeCommand('/bottle-init', checks), [
    '/bottle-init',
    'probe',
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

describe('the check at launch', () => {
  const answering =
    (change: (report: { check: string; outcome: string; detail: string }) => object, code = 0) =>
    async (argv: readonly string[]) => {
      const names = argv.slice(2).map((argument) => argument.split('=')[0]!);
      const reports = names.map((name) => change({ ...good.find(({ check }) => check === name)! }));
      return { code, stdout: lines(reports), stderr: '' };
    };
  test('counts what passed, and is in the log', async () => {
    await using gate = await startGate({ rules: [] });
    const { checks: passed } = await checkSeal({
      gate: gate.gate,
      slug: 'demo-x1y2z',
      probe: '/p',
      exec: answering((report) => report),
    });
    assert.equal(passed, 6);
    assert.deepEqual(
      (await gate.log()).map(({ event, decision }) => [event, decision]),
      [['seal', 'allow']],
    );
  });
  test('a miss is a failure that says which', async () => {
    await using gate = await startGate({ rules: [] });
    const exec = answering((report) =>
      report.check === 'no-tcp' ? { ...report, outcome: 'answered', detail: 'connected' } : report,
    );
    await assert.rejects(checkSeal({ gate: gate.gate, slug: 'x', probe: '/p', exec }), (error) => {
      assert.ok(error instanceof SealBroken);
      assert.deepEqual(error.fields.missed, [
        {
          check: 'a TCP connection to a public address fails',
          expected: 'failed',
          observed: 'answered: connected',
        },
      ]);
      return true;
    });
    assert.deepEqual(
      (await gate.log()).map(({ event, decision, reason }) => [event, decision, reason]),
      [['seal', 'fail', 'no-tcp']],
    );
  });
  test('a probe that fails passes nothing, whatever it printed', async () => {
    await using gate = await startGate({ rules: [] });
    await assert.rejects(
      checkSeal({ gate: gate.gate, slug: 'x', probe: '/p', exec: answering((report) => report, 127) }),
      SealBroken,
    );
  });
});
