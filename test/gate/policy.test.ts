import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { RuleInvalid, RuleTooBroad } from '../../src/gate/errors.ts';
import { parseHost } from '../../src/gate/host.ts';
import { isPlainPath } from '../../src/gate/path.ts';
import { type Ask, Policy } from '../../src/gate/policy.ts';
import { formatRule, makeRule, parseRule, type Rule, type RuleInput } from '../../src/gate/rule.ts';

const origin = { kind: 'file', path: 'b.md', line: 1 } as const;
const yes = (input: RuleInput) => makeRule(input, { action: 'allow', origin });
const no = (input: RuleInput) => makeRule(input, { action: 'deny', origin });
const command = (action: 'allow' | 'deny', text: string) =>
  parseRule(text, { action, origin: { kind: 'command', command: action } });

function tunnel(host: string, port = 443): Ask {
  return { kind: 'tunnel', host: parseHost(host)!, port };
}

function http(method: string, host: string, path = '/', port = 80): Ask {
  return { kind: 'http', host: parseHost(host)!, port, method, path };
}

const allowed = (rules: readonly Rule[], ask: Ask) => new Policy(rules).decide(ask).allowed;

describe('hosts', () => {
  test('nothing is allowed by no rules', () => assert.equal(allowed([], tunnel('a.example')), false));
  test('a name is that name only', () => {
    const rules = [yes({ host: 'a.example' })];
    assert.equal(allowed(rules, tunnel('A.EXAMPLE.')), true);
    assert.equal(allowed(rules, tunnel('b.a.example')), false);
    assert.equal(allowed(rules, tunnel('aa.example')), false);
    assert.equal(allowed(rules, tunnel('example')), false);
  });
  test('*. is one label and not none', () => {
    const rules = [yes({ host: '*.a.example' })];
    assert.equal(allowed(rules, tunnel('x.a.example')), true);
    assert.equal(allowed(rules, tunnel('x.y.a.example')), false);
    assert.equal(allowed(rules, tunnel('a.example')), false);
    assert.equal(allowed(rules, tunnel('xa.example')), false);
  });
  test('**. is any depth and not none', () => {
    const rules = [yes({ host: '**.a.example' })];
    assert.equal(allowed(rules, tunnel('x.y.a.example')), true);
    assert.equal(allowed(rules, tunnel('a.example')), false);
  });
  test('an address is allowed only where it is listed itself', () => {
    const all = makeRule({ host: '**', ports: 'any' }, { action: 'allow', origin, iKnow: true });
    assert.equal(allowed([all], tunnel('1.2.3.4')), false);
    assert.equal(allowed([all], tunnel('[2606:4700::1]')), false);
    assert.equal(allowed([yes({ host: '1.2.3.4' })], tunnel('1.2.3.4')), true);
    assert.equal(allowed([yes({ host: '2606:4700:0::1' })], tunnel('[2606:4700::1]')), true);
  });
  test('a rule that denies every host denies addresses too', () => {
    assert.equal(allowed([yes({ host: '1.2.3.4' }), no({ host: '**' })], tunnel('1.2.3.4')), false);
  });
  test('every host does not hold the name that nobody can have', () => {
    const all = makeRule({ host: '**' }, { action: 'allow', origin, iKnow: true });
    assert.equal(allowed([all], http('GET', 'canary.invalid')), false);
    assert.equal(allowed([all], http('GET', 'canary.example')), true);
  });
});

describe('ports, methods and paths', () => {
  test('without ports a rule is about 80 and 443', () => {
    const rules = [yes({ host: 'a.example' })];
    assert.deepEqual(
      [80, 443, 22, 8080].map((port) => allowed(rules, tunnel('a.example', port))),
      [true, true, false, false],
    );
  });
  test('with methods a rule is about plain HTTP', () => {
    const rules = [yes({ host: 'a.example', methods: ['get'] })];
    assert.equal(allowed(rules, http('GET', 'a.example')), true);
    assert.equal(allowed(rules, http('POST', 'a.example')), false);
    assert.equal(allowed(rules, http('get', 'a.example')), false, 'methods mind the case');
    assert.equal(allowed(rules, tunnel('a.example', 80)), false, 'a tunnel hides the method');
  });
  test('a prefix ends at a segment', () => {
    const rules = [yes({ host: 'a.example', paths: ['/pub/*', '/one'] })];
    for (const path of ['/pub/', '/pub/x', '/pub/a/b', '/one'])
      assert.equal(allowed(rules, http('GET', 'a.example', path)), true, path);
    for (const path of ['/pub', '/public', '/one/', '/onex', '/', '/PUB/x'])
      assert.equal(allowed(rules, http('GET', 'a.example', path)), false, path);
  });
  const evasions = [
    '/pub/../secret',
    '/pub/%2e%2e/secret',
    '/pub/.%2E/secret',
    '/pub/..;/secret',
    '/pub/.;x/secret',
    '/pub//secret',
    '/pub/%2f..%2fsecret',
    '/pub/..%5csecret',
    '/pub/..\\secret',
    '/%70ub/x',
    '/pub/%',
    '/pub/%zz',
    '/pub/%00',
    '/pub/%0a',
    '/pub/%252e%252e/secret',
    '/pub/a|b',
    '/pub/..%3b/secret',
  ];
  for (const path of evasions) {
    test(`a path with two readings matches no rule that allows: ${path}`, () => {
      assert.equal(isPlainPath(path), false);
      assert.equal(
        allowed([yes({ host: 'a.example', paths: ['/pub/*'] })], http('GET', 'a.example', path)),
        false,
      );
    });
    test(`and every rule that denies: ${path}`, () => {
      const rules = [yes({ host: 'a.example' }), no({ host: 'a.example', paths: ['/admin/*'] })];
      assert.equal(allowed(rules, http('GET', 'a.example', path)), false);
    });
  }
  test('a rule that denies a path does not mind the case, and denies the tunnel that could hide it', () => {
    const rules = [yes({ host: 'a.example' }), no({ host: 'a.example', paths: ['/admin'] })];
    assert.equal(allowed(rules, http('GET', 'a.example', '/AdMin')), false);
    assert.equal(allowed(rules, http('GET', 'a.example', '/other')), true);
    assert.equal(allowed(rules, tunnel('a.example', 80)), false);
    assert.equal(allowed(rules, tunnel('a.example', 443)), true);
  });
});

describe('deny wins', () => {
  test('in either order', () => {
    const pair = [yes({ host: '**.a.example' }), no({ host: 'x.a.example' })];
    for (const rules of [pair, [...pair].reverse()]) {
      assert.equal(allowed(rules, tunnel('x.a.example')), false);
      assert.equal(allowed(rules, tunnel('y.a.example')), true);
    }
  });
  test('and the verdict names the rule', () => {
    const rule = no({ host: 'x.a.example' });
    const verdict = new Policy([yes({ host: '**.a.example' }), rule]).decide(tunnel('x.a.example'));
    assert.equal(verdict.rule, rule);
  });
  test('a rule of a file wins over a later command', () => {
    const policy = new Policy([no({ host: 'a.example' })]).with(command('allow', 'a.example'));
    assert.equal(policy.decide(tunnel('a.example')).allowed, false);
  });
  test('of two commands about the same, the last counts', () => {
    const policy = new Policy([]).with(command('deny', 'a.example')).with(command('allow', 'a.example'));
    assert.equal(policy.decide(tunnel('a.example')).allowed, true);
    assert.equal(policy.with(command('deny', 'a.example')).decide(tunnel('a.example')).allowed, false);
    assert.equal(policy.rules.length, 1);
  });
});

describe('over-broad rules', () => {
  for (const host of [
    '*',
    '**',
    '*.com',
    '**.com',
    '*.co.uk',
    '*.com.au',
    '**.github.io',
    '*.workers.dev',
    '*.s3.amazonaws.com',
    '*.COM',
  ]) {
    test(`${host} needs to be meant`, () => {
      assert.throws(() => yes({ host }), RuleTooBroad);
      assert.doesNotThrow(() => makeRule({ host }, { action: 'allow', origin, iKnow: true }));
      assert.doesNotThrow(() => no({ host }));
    });
  }
  for (const host of ['*.example.com', '**.example.co.uk', '*.mine.github.io']) {
    test(`${host} does not`, () => assert.doesNotThrow(() => yes({ host })));
  }
});

describe('rules as written', () => {
  for (const host of [
    '',
    'a*.example',
    '*.*.example',
    '*.1.2.3.4',
    'http://a.example',
    'a.example/x',
    'a b',
    '*.',
    '0x7f.1',
    'a.example:80',
  ]) {
    test(`${JSON.stringify(host)} is refused`, () => assert.throws(() => yes({ host }), RuleInvalid));
  }
  for (const path of ['x', '/a/../b', '/%2e', '/a//b', '/a*b/../']) {
    test(`the path ${path} is refused`, () =>
      assert.throws(() => yes({ host: 'a.example', paths: [path] }), RuleInvalid));
  }
  const short: [string, string][] = [
    ['a.example', 'allow a.example'],
    ['a.example:22', 'allow a.example:22'],
    ['a.example:*', 'allow a.example:*'],
    ['*.a.example:8443', 'allow *.a.example:8443'],
    ['[::1]:80', 'allow [::1]:80'],
    ['::1', 'allow [::1]'],
    ['1.2.3.4:5432', 'allow 1.2.3.4:5432'],
  ];
  for (const [text, formatted] of short) {
    test(`${text} reads as ${formatted}`, () => assert.equal(formatRule(command('allow', text)), formatted));
  }
  for (const text of [
    'a.example:',
    'a.example:0',
    'a.example:99999',
    'https://a.example',
    'a.example/x',
    '',
  ]) {
    test(`${JSON.stringify(text)} is refused on a command line`, () =>
      assert.throws(() => command('allow', text), RuleInvalid));
  }
});

const label = fc.constantFrom('a', 'b', 'c', 'com', 'x-y');
const name = fc.array(label, { minLength: 2, maxLength: 5 }).map((labels) => labels.join('.'));
const ruleInput = fc.record({
  action: fc.constantFrom('allow' as const, 'deny' as const),
  star: fc.constantFrom('', '*.', '**.'),
  name,
  ports: fc.constantFrom(undefined, 'any' as const, [80], [443, 22]),
  methods: fc.constantFrom<string[] | undefined>(undefined, ['GET'], ['GET', 'POST']),
});
const question = fc.record({
  name,
  port: fc.constantFrom(80, 443, 22),
  method: fc.constantFrom(undefined, 'GET', 'POST', 'PUT'),
});

test('a policy decides as a naive reading of its rules does', () => {
  fc.assert(
    fc.property(fc.array(ruleInput, { maxLength: 12 }), question, (inputs, asked) => {
      const rules = inputs.map(({ action, star, name: host, ports, methods }) =>
        makeRule(
          { host: star + host, ...(ports && { ports }), ...(methods && { methods }) },
          { action, origin, iKnow: true },
        ),
      );
      const matching = inputs.filter(({ star, name: host, ports, methods }) => {
        const pattern = { '': '', '*.': '[^.]+\\.', '**.': '(?:[^.]+\\.)+' }[star];
        const isHost = new RegExp(`^${pattern}${host.replaceAll('.', '\\.')}$`).test(asked.name);
        const listed: readonly number[] | 'any' = ports ?? (methods ? [80] : [80, 443]);
        return isHost && (listed === 'any' || listed.includes(asked.port));
      });
      const denied = matching.some(
        ({ action, methods }) =>
          action === 'deny' &&
          (asked.method === undefined || (methods ?? [asked.method]).includes(asked.method)),
      );
      const let_ = matching.some(
        ({ action, methods }) =>
          action === 'allow' &&
          (methods === undefined || (asked.method !== undefined && methods.includes(asked.method))),
      );
      const ask =
        asked.method === undefined
          ? tunnel(asked.name, asked.port)
          : http(asked.method, asked.name, '/', asked.port);
      assert.equal(allowed(rules, ask), let_ && !denied);
    }),
    { numRuns: 2000 },
  );
});

test('no spelling of a host that is not listed is let through', () => {
  const policy = new Policy([yes({ host: 'good.example' }), yes({ host: '**.fine.example' })]);
  const text = fc.oneof(
    fc
      .tuple(
        fc.constantFrom('good.example', 'a.fine.example', 'evil.example', '127.0.0.1'),
        fc.constantFrom('', '.', '%2e', '@', '\\', '#', '\0', '..', '%00'),
        fc.constantFrom('', 'evil.example', 'good.example', '1'),
      )
      .map((parts) => parts.join('')),
    fc.stringMatching(/^[a-zA-Z0-9.%@\\-]{1,20}$/),
    fc.mixedCase(fc.constant('good.example')),
  );
  fc.assert(
    fc.property(text, (written) => {
      const host = parseHost(written);
      if (host === undefined || !policy.decide({ kind: 'tunnel', host, port: 443 }).allowed) return;
      assert.match(written, /^(?:good\.example|(?:[a-z0-9_-]+\.)+fine\.example)\.?$/i);
    }),
    { numRuns: 5000 },
  );
});
