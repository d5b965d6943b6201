import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PresetUnknown } from '../../src/gate/errors.ts';
import { presetNames, presetRules, presetSource, type ToolConfigs } from '../../src/gate/presets/presets.ts';
import { formatOrigin, formatRule } from '../../src/gate/rule.ts';

const none: ToolConfigs = { npm: [], pip: [], apt: [], env: {} };
const rulesOf = (preset: string, configs: Partial<ToolConfigs> = {}) =>
  presetRules(preset, { ...none, ...configs }).rules.map(formatRule);

test('every preset can be read, says what it stands on, and allows only names', () => {
  assert.deepEqual(presetNames, ['none', 'anthropic', 'openai', 'github-read', 'npm', 'pip', 'debian']);
  for (const preset of presetNames) {
    assert.ok(presetSource(preset).length > 10);
    for (const rule of presetRules(preset, none).rules)
      assert.deepEqual([rule.action, rule.host.kind, rule.reach], ['allow', 'exact', []]);
  }
});

test('none allows nothing', () => assert.deepEqual(rulesOf('none'), []));
test('anthropic allows the API over TLS only', () =>
  assert.ok(rulesOf('anthropic').includes('allow api.anthropic.com:443')));
test('github-read reads only, where the gate can see it', () => {
  assert.ok(rulesOf('github-read').includes('allow api.github.com GET HEAD'));
  assert.ok(rulesOf('github-read').includes('allow github.com:443'));
});
test('an unknown preset is a failure that knows the others', () => {
  assert.throws(() => presetRules('toString', none), PresetUnknown);
  assert.throws(() => presetSource('x'), PresetUnknown);
});
test('a tool preset without configuration allows nothing, and says so', () => {
  for (const preset of ['npm', 'pip', 'debian']) {
    const { rules, problems } = presetRules(preset, none);
    assert.deepEqual(rules, []);
    assert.match(problems.join(), /allows nothing/);
  }
});

describe('npm', () => {
  test('reads registries of an npmrc, without their credentials', () => {
    const text = [
      '; registry=https://comment.example/',
      '# registry=https://comment.example/',
      'registry = "https://user:pass@npm.example:8443/repo/"',
      '@team:registry=http://npm2.example/x/',
      '@env:registry=${REGISTRY}',
      '//npm.example/:_authToken=SECRET',
      'proxy=http://proxy.example/',
    ].join('\r\n');
    const { rules, problems } = presetRules('npm', {
      ...none,
      npm: [{ path: '~/.npmrc', text }],
      env: { REGISTRY: 'https://env.example' },
    });
    assert.deepEqual(rules.map(formatRule), [
      'allow npm.example:8443',
      'allow npm2.example GET HEAD',
      'allow env.example:443',
    ]);
    assert.equal(formatOrigin(rules[0]!.origin), 'preset npm (~/.npmrc)');
    assert.deepEqual(problems, []);
    assert.doesNotMatch(JSON.stringify(rules), /SECRET|pass/);
  });
  test('a value that is no URL is a problem, and is not repeated', () => {
    const { problems } = presetRules('npm', { ...none, npm: [{ path: 'x', text: 'registry=SECRET' }] });
    assert.equal(problems.length, 2);
    assert.doesNotMatch(problems.join(), /SECRET/);
  });
});

test('pip reads the indexes of a pip.conf', () => {
  const text = [
    '[global]',
    'index-url = https://user:pass@pypi.example/simple',
    'extra-index-url =',
    '    http://two.example:8080/simple',
    '    https://three.example/simple',
    '# index-url = https://comment.example',
    'timeout = 5',
    '    https://not-a-list.example',
    '[install]',
    'find-links = https://wheels.example/dir ./local',
    'trusted-host = trusted.example',
  ].join('\n');
  assert.deepEqual(rulesOf('pip', { pip: [{ path: 'pip.conf', text }] }), [
    'allow pypi.example:443',
    'allow two.example:8080 GET HEAD',
    'allow three.example:443',
    'allow wheels.example:443',
  ]);
});

describe('debian', () => {
  test('reads one-line sources', () => {
    const text = [
      'deb [arch=amd64 signed-by=/k.gpg] http://deb.example/debian bookworm main # comment http://x.example',
      'deb-src https://src.example:444/debian bookworm main',
      '# deb http://comment.example/ x main',
      'deb cdrom:[Debian]/ bookworm main',
      'deb file:/srv/mirror bookworm main',
      'deb mirror+https://list.example/mirrors.txt bookworm main',
      'deb ftp://old.example/debian x main',
    ].join('\n');
    const { rules, problems } = presetRules('debian', { ...none, apt: [{ path: 'sources.list', text }] });
    assert.deepEqual(rules.map(formatRule), [
      'allow deb.example GET HEAD',
      'allow src.example:444',
      'allow list.example:443',
    ]);
    assert.equal(problems.length, 1);
  });
  test('reads deb822 sources', () => {
    const text = [
      'Types: deb',
      'URIs: http://one.example/debian',
      ' http://two.example/debian',
      '# URIs: http://comment.example',
      'Suites: x',
      '',
      'Enabled: no',
      'Types: deb',
      'URIs: http://off.example/',
      '',
      'types: deb',
      'uris: https://three.example/',
    ].join('\n');
    assert.deepEqual(rulesOf('debian', { apt: [{ path: 'debian.sources', text }] }), [
      'allow one.example GET HEAD',
      'allow two.example GET HEAD',
      'allow three.example:443',
    ]);
  });
});
