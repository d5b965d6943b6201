import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseHost } from '../../src/gate/host.ts';
import { Policy } from '../../src/gate/policy.ts';
import { formatRule } from '../../src/gate/rule.ts';
import { Shelf } from './shelf.ts';

async function egress(text: string, iKnow = false) {
  const { bottle, warnings } = await Shelf.bottle(`egress:\n${text}`, { iKnow });
  return {
    rules: bottle.rules.map(formatRule),
    policy: new Policy(bottle.rules),
    lines: bottle.rules.map(({ origin }) => (origin.kind === 'file' ? origin.line : 0)),
    warnings: warnings.map((warning) => warning.replace('~/.claude-bottle/bottles/b.md:', '')),
  };
}

const http = (policy: Policy, path: string, method = 'GET', host = 'a.example') =>
  policy.decide({ kind: 'http', host: parseHost(host)!, port: 80, method, path }).allowed;
const https = (policy: Policy, host = 'a.example') =>
  policy.decide({ kind: 'tunnel', host: parseHost(host)!, port: 443 }).allowed;

describe('own keys', () => {
  test('short and long forms become rules of their lines', async () => {
    const { rules, lines, warnings } = await egress(`  allow:
    - a.example
    - b.example:8443
    - "*.c.example:*"
    - host: d.example
      ports: [80, 8080]
      methods: [get]
      paths: [/x/*]
      reach: [private]
    - "[::1]:80"
  deny:
    - "**"
    - host: a.example
      paths: [/admin]`);
    assert.deepEqual(rules, [
      'allow a.example',
      'allow b.example:8443',
      'allow *.c.example:*',
      'allow d.example:80,8080 GET /x/* reach private',
      'allow [::1]:80',
      'deny **',
      'deny a.example /admin',
    ]);
    assert.deepEqual(lines, [4, 5, 6, 7, 12, 14, 15]);
    assert.deepEqual(warnings, []);
  });
  test('over-broad patterns are taken from who says that they are meant', async () => {
    assert.deepEqual((await egress('  allow: ["*.com"]', true)).rules, ['allow *.com']);
    assert.deepEqual((await egress('  routes: [{ host: "*.com" }]', true)).rules, ['allow *.com']);
  });
});

describe('routes', () => {
  test('without matches: the host, for http and https', async () => {
    const { rules, lines, warnings } = await egress('  routes:\n    - host: a.example');
    assert.deepEqual([rules, lines, warnings], [['allow a.example'], [4], []]);
  });

  test('with matches: what they let through over plain HTTP, and https stays closed', async () => {
    const { policy, warnings, lines } = await egress(`  routes:
    - host: a.example
      matches:
        - paths: [{ type: prefix, value: /api }, { type: exact, value: /ok }]
          methods: [GET, head]
        - paths: [{ type: prefix, value: /any/ }]`);
    for (const path of ['/api', '/api/', '/api/x/y', '/ok', '/any/', '/any/x'])
      assert.equal(http(policy, path), true, path);
    for (const path of ['/', '/apis', '/ok/', '/okay', '/any', '/other'])
      assert.equal(http(policy, path), false, path);
    assert.equal(http(policy, '/api', 'HEAD'), true);
    assert.equal(http(policy, '/api', 'POST'), false);
    assert.equal(http(policy, '/any/x', 'POST'), true);
    assert.equal(https(policy), false);
    assert.deepEqual(lines, [6, 8]);
    assert.deepEqual(warnings, [
      '5: a.example is open over plain HTTP only: inside TLS the gate sees neither method nor path, so https stays closed',
    ]);
  });

  test('a match that says nothing is about requests too', async () => {
    const { policy } = await egress('  routes: [{ host: a.example, matches: [{}] }]');
    assert.deepEqual([http(policy, '/x'), https(policy)], [true, false]);
  });

  test('what the gate cannot check is closed, not open', async () => {
    const { policy, warnings } = await egress(`  routes:
    - host: a.example
      matches:
        - paths: [{ type: regex, value: "^/v[0-9]" }]
        - headers: [{ name: x, value: y }]
          paths: [{ type: prefix, value: /h }]
        - paths: [{ type: regex, value: .* }, { type: exact, value: /e }]`);
    for (const path of ['/v1', '/h', '/', '/x']) assert.equal(http(policy, path), false, path);
    assert.equal(http(policy, '/e'), true);
    assert.equal(https(policy), false);
    assert.deepEqual(warnings, [
      '5: a.example is open over plain HTTP only: inside TLS the gate sees neither method nor path, so https stays closed',
      '6: what only this path lets through to a.example is refused: the gate knows no regular expressions',
      '7: what only this match lets through to a.example is refused: the gate has no rules about headers',
      '9: what only this path lets through to a.example is refused: the gate knows no regular expressions',
    ]);
  });

  test('what is not built is said on its line, once', async () => {
    const { rules, warnings } = await egress(`  log: 2
  routes:
    - host: a.example
      auth: { scheme: Bearer, token_ref: TOKEN }
      role: x
      git: { fetch: true }
      dlp: { outbound_detectors: false }`);
    assert.deepEqual(rules, ['allow a.example']);
    assert.deepEqual(
      warnings.map((warning) => warning.split(':')[0]),
      ['3', '6', '7', '8', '9'],
    );
    assert.match(
      warnings[1]!,
      /^6: requests to a\.example go out without credentials: injection is not built$/,
    );
  });

  test('never let through more than they say', async () => {
    const segment = fc.constantFrom('a', 'b', 'ab', '');
    const path = fc
      .array(segment, { minLength: 1, maxLength: 3 })
      .map((parts) => `/${parts.join('/')}`.replace(/\/{2,}/g, '/'));
    const methods = fc.option(fc.subarray(['GET', 'POST'], { minLength: 1 }), { nil: undefined });
    const paths = fc.option(
      fc.array(fc.record({ type: fc.constantFrom('prefix', 'exact', 'regex'), value: path }), {
        minLength: 1,
        maxLength: 2,
      }),
      { nil: undefined },
    );
    const match = fc.record({ paths, methods, headers: fc.option(fc.constant([]), { nil: undefined }) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(match, { minLength: 1, maxLength: 3 }),
        fc.array(path, { minLength: 5, maxLength: 20 }),
        async (matches, asked) => {
          // JSON is YAML.
          const { policy } = await egress(`  routes: ${JSON.stringify([{ host: 'a.example', matches }])}`);
          assert.equal(https(policy), false);
          for (const method of ['GET', 'POST']) {
            for (const at of asked) {
              const meant = matches.some(
                (one) =>
                  one.headers === undefined &&
                  (one.methods ?? [method]).includes(method) &&
                  (one.paths === undefined ||
                    one.paths.some(({ type, value }) =>
                      type === 'prefix' ? at.startsWith(value) : type === 'exact' && at === value,
                    )),
              );
              if (http(policy, at, method)) assert.ok(meant, `${method} ${at} by ${JSON.stringify(matches)}`);
            }
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});

test("the predecessor's bottle loads, and says what it does not do yet", async () => {
  const { bottle, warnings } = await Shelf.bottle(`# A comment
agent_provider:
  template: claude
  dockerfile: ./Dockerfile.dev
  auth_token: CLAUDE_CODE_OAUTH_TOKEN
  forward_host_credentials: false
env:
  NODE_ENV: development
  GITHUB_USER: \${USER}
  SECRET: ?the secret, please
  ASKED: ?
git-gate:
  user: { name: Bot, email: bot@x.example }
  repos:
    project:
      url: ssh://git@git.x.example:22/project.git
      key: { provider: static, path: ~/.ssh/id_ed25519 }
      host_key: ssh-ed25519 AAAA
egress:
  log: 1
  routes:
    - host: registry.npmjs.org
    - host: api.github.com
      matches:
        - paths:
            - { type: prefix, value: /repos/x/ }
          methods: [GET]
      auth: { scheme: token, token_ref: GH_TOKEN }
supervise: true`);
  assert.deepEqual(bottle.env, {
    NODE_ENV: { kind: 'literal', value: 'development' },
    GITHUB_USER: { kind: 'host', variable: 'USER' },
    SECRET: { kind: 'prompt', message: 'the secret, please' },
    ASKED: { kind: 'prompt', message: '' },
  });
  assert.deepEqual(bottle.rules.map(formatRule), [
    'allow registry.npmjs.org',
    'allow api.github.com GET /repos/x/*',
  ]);
  assert.deepEqual([bottle.template, bottle.gitUser.name], ['claude', 'Bot']);
  assert.deepEqual(
    warnings.map((warning) => /b\.md:(\d+): /.exec(warning)?.[1]),
    ['6', '15', '30', '21', '29', '25'],
  );
});
