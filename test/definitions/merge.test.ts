import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { BottleCycle, DefinitionInvalid } from '../../src/definitions/errors.ts';
import { formatRule } from '../../src/gate/rule.ts';
import { matter, Shelf } from './shelf.ts';

/** Bottles by name; the last one, or those named, loaded. */
async function merged(fronts: Readonly<Record<string, string>>, ...names: string[]) {
  await using shelf = await Shelf.make(
    Object.fromEntries(Object.entries(fronts).map(([name, front]) => [`bottles/${name}`, matter(front)])),
  );
  const { bottle, warnings } = await shelf.load({
    bottles: names.length > 0 ? names : [Object.keys(fronts).at(-1)!],
  });
  const env = Object.fromEntries(
    Object.entries(bottle.env).map(([name, value]) => [
      name,
      value.kind === 'literal' ? value.value : value.kind,
    ]),
  );
  const place = (path: string | undefined) =>
    path?.replace(`${shelf.repository}/`, '').replace(shelf.repository, '.');
  const image = {
    ...bottle.image,
    ...(bottle.image.dockerfile === undefined ? {} : { dockerfile: place(bottle.image.dockerfile) }),
    ...(bottle.image.context === undefined ? {} : { context: place(bottle.image.context) }),
  };
  return { ...bottle, env, image, rules: bottle.rules.map(formatRule), warnings };
}

describe('a child over its parent', () => {
  test('env: by name, the child counts', async () => {
    const { env, names } = await merged({ a: 'env: { X: a, Y: a }', b: 'extends: a\nenv: { Y: b, Z: b }' });
    assert.deepEqual(env, { X: 'a', Y: 'b', Z: 'b' });
    assert.deepEqual(names, ['a', 'b']);
  });
  test('git-gate.user: by field, what is empty does not count', async () => {
    const a = 'git-gate: { user: { name: A, email: a@x.example } }';
    assert.deepEqual(
      (await merged({ a, b: "extends: a\ngit-gate: { user: { name: '', email: b@x.example } }" })).gitUser,
      {
        name: 'A',
        email: 'b@x.example',
      },
    );
    assert.deepEqual((await merged({ a, b: 'extends: a' })).gitUser, { name: 'A', email: 'a@x.example' });
  });
  test('egress: replaced as a whole where the child has it', async () => {
    const a = 'egress: { presets: [anthropic], allow: [a.example], routes: [{ host: r.example }] }';
    const inherited = await merged({ a, b: 'extends: a' });
    assert.deepEqual(
      [inherited.presets, inherited.rules],
      [['anthropic'], ['allow a.example', 'allow r.example']],
    );
    const replaced = await merged({ a, b: 'extends: a\negress: { allow: [b.example] }' });
    assert.deepEqual([replaced.presets, replaced.rules], [[], ['allow b.example']]);
    for (const empty of ['{}', '{ routes: [] }', '{ allow: [] }', '{ presets: [] }']) {
      const { presets, rules } = await merged({ a, b: `extends: a\negress: ${empty}` });
      assert.deepEqual([presets, rules], [[], []]);
    }
  });
  test('egress: a denial that is replaced is not lost silently', async () => {
    const { warnings, rules } = await merged({
      a: 'egress: { deny: [bad.example] }',
      b: 'extends: a\nenv: {}\negress: { allow: [b.example] }',
    });
    assert.deepEqual(rules, ['allow b.example']);
    assert.deepEqual(warnings, [
      '~/.claude-bottle/bottles/b.md:4: `egress` replaces that of ~/.claude-bottle/bottles/a.md:2, with what is denied there; deny it here too if it should stay so',
    ]);
  });
  test('egress: the warnings of what is replaced go with it', async () => {
    const a = 'egress: { routes: [{ host: r.example, auth: { scheme: Bearer, token_ref: T } }] }';
    assert.equal((await merged({ a, b: 'extends: a' })).warnings.length, 1);
    assert.deepEqual((await merged({ a, b: 'extends: a\negress: {}' })).warnings, []);
  });
  test('agent_provider: replaced as a whole, its Dockerfile with it', async () => {
    const a = 'agent_provider: { template: claude, dockerfile: D }';
    const inherited = await merged({ a, b: 'extends: a' });
    assert.deepEqual(
      [inherited.template, inherited.image],
      ['claude', { dockerfile: 'D', context: '.', buildArgs: {} }],
    );
    const replaced = await merged({ a, b: 'extends: a\nagent_provider: { template: codex }' });
    assert.deepEqual([replaced.template, replaced.image], ['codex', { buildArgs: {} }]);
    const cleared = await merged({ a, b: 'extends: a\nagent_provider: {}' });
    assert.deepEqual([cleared.template, cleared.image], [undefined, { buildArgs: {} }]);
  });
  test('image: replaced as a whole, whichever key says it', async () => {
    const a = 'image: { dockerfile: D, context: c, target: t, build_args: { V: 1.20 } }';
    const own = { dockerfile: 'D', context: 'c', target: 't', buildArgs: { V: '1.20' } };
    assert.deepEqual((await merged({ a, b: 'extends: a' })).image, own);
    assert.deepEqual((await merged({ a, b: 'extends: a\nimage: debian:12' })).image, {
      image: 'debian:12',
      buildArgs: {},
    });
    assert.deepEqual((await merged({ a, b: 'extends: a\nagent_provider: { template: codex }' })).image, own);
    assert.deepEqual((await merged({ a, b: 'extends: a\nagent_provider: { dockerfile: E }' })).image, {
      dockerfile: 'E',
      context: '.',
      buildArgs: {},
    });
  });
  test('resources: by field', async () => {
    const { resources } = await merged({
      a: 'resources: { cpus: 2, memory: 4G }',
      b: 'extends: a\nresources: { memory: 512MiB, pids: 100, disk: 1GB }',
    });
    assert.deepEqual(resources, { cpus: 2, memoryBytes: 512 * 2 ** 20, pids: 100, diskBytes: 1e9 });
  });
  test('command and user: replaced; an empty command clears', async () => {
    const a = 'command: [a, 1]\nuser: root';
    const replaced = await merged({ a, b: 'extends: a\ncommand: [b]\nuser: 1000:1000' });
    assert.deepEqual([replaced.command, replaced.user], [['b'], '1000:1000']);
    const cleared = await merged({ a, b: 'extends: a\ncommand: []' });
    assert.deepEqual([cleared.command, cleared.user], [undefined, 'root']);
  });
  test('backend: replaced, and inherited where the child is silent', async () => {
    const a = 'backend: docker';
    assert.equal((await merged({ a, b: 'extends: a' })).backend, 'docker');
    assert.equal((await merged({ a, b: 'extends: a\nbackend: smolmachines' })).backend, 'smolmachines');
    assert.equal((await merged({ a, b: 'backend: smolmachines' }, 'b', 'a')).backend, 'docker');
    assert.equal((await merged({ a: 'user: x' })).backend, undefined);
  });
});

describe('side by side', () => {
  const a =
    'env: { X: a, Y: a }\negress: { presets: [npm], allow: [a.example] }\nresources: { cpus: 1, pids: 9 }\nuser: a\nagent_provider: { template: claude }';
  const b =
    'env: { Y: b }\negress: { presets: [npm, pip], deny: [b.example] }\nresources: { cpus: 2 }\nuser: b\nagent_provider: { template: codex }';
  const both = {
    env: { X: 'a', Y: 'b' },
    presets: ['npm', 'pip'],
    rules: ['allow a.example', 'deny b.example'],
    resources: { cpus: 2, pids: 9 },
    user: 'b',
    template: 'codex',
  };
  for (const way of ['extends', '--bottle']) {
    test(`${way}: the last counts, and egress adds up`, async () => {
      const result =
        way === 'extends' ? await merged({ a, b, c: 'extends: [a, b]' }) : await merged({ a, b }, 'a', 'b');
      const { env, presets, rules, resources, user, template } = result;
      assert.deepEqual({ env, presets, rules, resources, user, template }, both);
      assert.deepEqual(result.names, way === 'extends' ? ['a', 'b', 'c'] : ['a', 'b']);
    });
  }
  test('the same bottle over two ways is there once', async () => {
    const { names, rules, env, warnings } = await merged({
      base: 'egress: { log: 1, allow: [base.example] }\nenv: { X: base }\nsupervise: true',
      left: 'extends: base\nenv: { X: left }',
      right: 'extends: base',
      top: 'extends: [left, right]',
    });
    assert.deepEqual(names, ['base', 'left', 'right', 'top']);
    assert.deepEqual(rules, ['allow base.example']);
    // The later parent's value counts, though it has it from the common one.
    assert.deepEqual(env, { X: 'base' });
    assert.equal(warnings.length, 2);
  });
});

describe('extends', () => {
  test('a circle is shown as a chain', async () => {
    const circle = { a: 'extends: b', b: 'extends: [x, c]', c: 'extends: b', x: '' };
    await assert.rejects(merged(circle, 'a'), (error: BottleCycle) => {
      assert.ok(error instanceof BottleCycle);
      assert.deepEqual(error.fields.chain, ['b', 'c', 'b']);
      return true;
    });
    await assert.rejects(
      merged({ a: 'extends: a' }),
      (error: BottleCycle) => error.fields.chain.join() === 'a,a',
    );
  });
  test('what is not there is an error on its line, with what was probably meant', async () => {
    await assert.rejects(
      merged({ base: '', b: 'env: {}\nextends:\n  - base\n  - bas\n  - zzzzz' }),
      (error: DefinitionInvalid) => {
        assert.ok(error instanceof DefinitionInvalid);
        assert.deepEqual(
          error.fields.problems.map(({ line }) => line),
          [5, 6],
        );
        assert.match(error.fields.problems[0]!.problem, /did you mean base\?\); there are b, base$/);
        return true;
      },
    );
  });
});

test('paths start at the repository, else at the directory, and ~ is the home', async () => {
  await using shelf = await Shelf.make({
    'bottles/a': matter('image: { dockerfile: ~/D, context: sub }'),
    'bottles/b': matter('image: { context: /abs }'),
    'bottles/c': matter('image: { target: x }'),
  });
  const imageOf = async (name: string, repository?: string) =>
    (
      await shelf.load({
        bottles: [name],
        directory: '/here',
        ...(repository === undefined ? {} : { repository }),
      })
    ).bottle.image;
  const { dockerfile, context } = await imageOf('a');
  assert.deepEqual([dockerfile, context], [join(shelf.home, 'D'), join(shelf.repository, 'sub')]);
  assert.deepEqual(await imageOf('b'), { dockerfile: '/abs/Dockerfile', context: '/abs', buildArgs: {} });
  const { loadDefinitions } = await import('../../src/definitions/load.ts');
  const { bottle } = await loadDefinitions({
    home: shelf.home,
    directory: '/here',
    bottles: ['c'],
    iKnow: false,
    builtIn: ['claude'],
    backends: [],
  });
  assert.deepEqual(bottle.image, {
    dockerfile: '/here/Dockerfile',
    context: '/here',
    target: 'x',
    buildArgs: {},
  });
});
