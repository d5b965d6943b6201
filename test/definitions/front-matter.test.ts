import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { matter, problemsOf, Shelf } from './shelf.ts';

describe('YAML', () => {
  const attacks: readonly [name: string, text: string, says: RegExp][] = [
    ['no front matter', 'just text', /^1 expected the front matter/],
    ['nothing', '', /^1 expected the front matter/],
    ['a blank line before it', `\n${matter('env: {}')}`, /^1 expected the front matter/],
    ['no end', '---\nenv: {}\n', /^1 the front matter has no end/],
    ['a list', matter('- a'), /^2 expected `key: value` lines$/],
    ['a text', matter('a'), /^2 expected `key: value` lines$/],
    ['an anchor', matter('env: &x {}'), /^2 anchors/],
    ['an alias', matter('env: {}\nresources: *x'), /^3 aliases/],
    ['a merge key', matter('<<: { env: {} }'), /^2 unknown key `<<`/],
    ['a tag', matter('env:\n  A: !!binary aGk='), /^3 tags/],
    ['a tag of its own', matter('env: !!js/function "x"'), /^2 tags/],
    ['a verbatim tag', matter('env: !<tag:yaml.org,2002:map> {}'), /^2 tags/],
    ['a non-specific tag', matter('env:\n  A: ! x'), /^3 tags/],
    ['a directive', matter('%YAML 1.1\nsupervise: no'), /^2 directives/],
    ['a second document', matter('env: {}\n--- {}\n'), /^3 one YAML document/],
    ['an end of document', matter('env: {}\n...\nsupervise: true'), /^3 one YAML document/],
    [
      'a key twice',
      matter('env: {}\nsupervise: true\nenv: {}'),
      /^4 `env` stands here again; it is first on line 2$/,
    ],
    [
      'a key twice below',
      matter('env:\n  A: x\n  "A": y'),
      /^4 `A` stands here again; it is first on line 3$/,
    ],
    ['__proto__', matter('__proto__: { supervise: true }'), /^2 this key is not allowed$/],
    ['__proto__ as a variable', matter('env:\n  __proto__: x'), /^3 this key is not allowed$/],
    ['a number as key', matter('1: x'), /^2 a key is expected to be a plain text$/],
    ['nothing as key', matter('env:\n  : x'), /^3 a key is expected to be a plain text$/],
    ['a list as key', matter('? [a]\n: b'), /^2 a key is expected to be a plain text$/],
    [
      'an open bracket',
      matter('env: {A: b'),
      /^\d the indentation fits nothing above, or a bracket is not closed|missing/,
    ],
    ['a tab', matter('env:\n\tA: b'), /^3 /],
    ['an escape that is none', matter('env:\n  A: "\\q"'), /^3 there is no such escape/],
    ['two values', matter('env: a: b'), /^2 a value and a key run together/],
    ['depth', matter(`env: ${'['.repeat(100_000)}`), /^2 /],
    ['depth by indentation', matter(`env:\n${'- '.repeat(60_000)}x`), /^\d this is nested too deeply/],
    [
      'depth that is closed',
      matter(`env: ${'['.repeat(30)}${']'.repeat(30)}`),
      /^2 this is nested too deeply/,
    ],
    [
      'a bomb',
      matter(
        Array.from(
          { length: 30 },
          (_, i) => `k${i}: &a${i} [${i === 0 ? 'x' : `*a${i - 1}, *a${i - 1}`}]`,
        ).join('\n'),
      ),
      /^2 anchors/,
    ],
    ['a bare quote', matter(`env: { A: "${'x'.repeat(1000)} }`), /^\d /],
  ];
  for (const [name, text, says] of attacks) {
    test(`${name} is refused`, async () => {
      const problems = await problemsOf('bottles', text);
      assert.ok(problems.length > 0 && problems.length <= 10, problems.join('\n'));
      assert.match(problems[0]!, says);
    });
  }

  test('what looks like foreign syntax within a text is text', async () => {
    const { bottle } = await Shelf.bottle(
      'env:\n  A: "*x"\n  B: a &b !c\n  C: |\n    !tag *alias &anchor\n    %YAML\n  D: \'!x\'',
    );
    assert.deepEqual(
      Object.values(bottle.env).map((value) => (value.kind === 'literal' ? value.value : value.kind)),
      ['*x', 'a &b !c', '!tag *alias &anchor\n%YAML\n', '!x'],
    );
  });

  test('a question mark alone asks, with quotes and without', async () => {
    const { bottle } = await Shelf.bottle(
      'env:\n  A: ?\n  B: ?   # asked\n  C: "?"\n  D: ?the d\n  E: |\n    x: ?\n  F: "y: ?"\n  G: ?  ',
    );
    assert.deepEqual(
      Object.values(bottle.env).map((value) =>
        value.kind === 'prompt' ? `?${value.message}` : value.kind === 'literal' ? value.value : '',
      ),
      ['?', '?', '?', '?the d', 'x: ?\n', 'y: ?', '?'],
    );
    assert.deepEqual((await Shelf.bottle('env: { A: ?, B: ? }')).bottle.env, {
      A: { kind: 'prompt', message: '' },
      B: { kind: 'prompt', message: '' },
    });
  });

  test('numbers and booleans of variables are what stands there', async () => {
    const { bottle } = await Shelf.bottle(
      'env: { A: 1.20, B: 007, C: 0x10, D: yes, E: True, F: 1e3, G: "", H: no }',
    );
    assert.deepEqual(
      Object.values(bottle.env).map((value) => (value.kind === 'literal' ? value.value : value.kind)),
      ['1.20', '007', '0x10', 'yes', 'True', '1e3', '', 'no'],
    );
  });
});
