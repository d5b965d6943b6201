import assert from 'node:assert/strict';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import type { DefinitionInvalid, DefinitionUnreadable } from '../../src/definitions/errors.ts';
import { AgentUnknown, BottleUnknown, DefinitionNameInvalid } from '../../src/definitions/errors.ts';
import { listAgents, listBottles } from '../../src/definitions/load.ts';
import { formatRule } from '../../src/gate/rule.ts';
import { matter, Shelf } from './shelf.ts';

const everything = `
name: passed over
description: passed over
model: passed over
color: passed over
memory: passed over
skills: [review]
git-gate:
  user: { name: A, email: a@a.example }
`;

describe('which agent', () => {
  test('without a name and without a file there is one with no prompt and no rules', async () => {
    await using shelf = await Shelf.make();
    const { agent, bottle, warnings } = await shelf.load();
    assert.deepEqual(agent, {
      name: 'agent',
      source: 'built-in',
      prompt: '',
      skills: [],
      gitUser: {},
      bottles: [],
    });
    assert.deepEqual(bottle, {
      names: [],
      env: {},
      image: { buildArgs: {} },
      resources: {},
      gitUser: {},
      presets: [],
      rules: [],
    });
    assert.deepEqual(warnings, []);
  });

  test("the user's own wins over the repository's, which wins over a template", async () => {
    await using shelf = await Shelf.make({ 'repo:agents/claude': matter('', 'theirs') });
    const theirs = await shelf.load({ agent: 'claude' });
    assert.deepEqual(
      [theirs.agent.source, theirs.agent.prompt, theirs.agent.template],
      ['repo', 'theirs', undefined],
    );
    await shelf.write({ 'agents/claude': matter('', 'mine') });
    const mine = await shelf.load({ agent: 'claude' });
    assert.deepEqual([mine.agent.source, mine.agent.prompt], ['home', 'mine']);
    assert.equal(mine.warnings.length, 1);
    assert.match(
      mine.warnings[0]!,
      /repo\/\.claude-bottle\/agents\/claude\.md is ignored: your own .* same name/,
    );
    const codex = await shelf.load({ agent: 'codex' });
    assert.deepEqual([codex.agent.source, codex.agent.template], ['built-in', 'codex']);
  });

  test('an unknown one is answered with those that there are', async () => {
    await using shelf = await Shelf.make({ 'agents/reviewer': matter(''), 'repo:agents/tester': matter('') });
    await assert.rejects(shelf.load({ agent: 'reviwer' }), (error: AgentUnknown) => {
      assert.ok(error instanceof AgentUnknown);
      assert.deepEqual(error.fields.known, ['claude', 'codex', 'demo', 'reviewer', 'shell', 'tester']);
      assert.equal(error.fields.suggestion, 'reviewer');
      return true;
    });
    await assert.rejects(shelf.load({ bottles: ['none'] }), BottleUnknown);
    assert.deepEqual(await listBottles(shelf), []);
    assert.deepEqual(
      (await listAgents({ ...shelf, builtIn: ['claude'] })).map(({ name, source }) => `${name} ${source}`),
      ['claude built-in', 'reviewer home', 'tester repo'],
    );
  });

  for (const name of ['../x', 'X', 'a b', '', 'a/b', '.', '1a', 'a'.repeat(64), '__proto__']) {
    test(`no name: ${JSON.stringify(name)}`, async () => {
      await using shelf = await Shelf.make();
      await assert.rejects(shelf.load({ agent: name }), DefinitionNameInvalid);
      await assert.rejects(shelf.load({ bottles: [name] }), DefinitionNameInvalid);
    });
  }

  test('the bottles of the command line replace those of the agent', async () => {
    await using shelf = await Shelf.make({
      'agents/a': matter('bottle: [x, y]'),
      'bottles/x': matter('env: { IN: x }'),
      'bottles/y': matter('env: { IN: y }'),
      'bottles/z': matter('env: { IN: z }'),
    });
    const own = await shelf.load({ agent: 'a' });
    assert.deepEqual(own.bottle.names, ['x', 'y']);
    assert.deepEqual(own.bottle.env, { IN: { kind: 'literal', value: 'y' } });
    const other = await shelf.load({ agent: 'a', bottles: ['z'] });
    assert.deepEqual(other.bottle.names, ['z']);
  });

  test('a bottle that an agent names and that is not there is an error on its line', async () => {
    await using shelf = await Shelf.make({
      'agents/a': matter('bottle:\n  - dev\n  - gone'),
      'bottles/dev': matter(''),
    });
    await assert.rejects(shelf.load({ agent: 'a' }), (error: DefinitionInvalid) => {
      assert.deepEqual(error.fields.problems, [
        {
          line: 4,
          problem: 'no bottle in ~/.claude-bottle/bottles has the name that stands here; there are dev',
        },
      ]);
      return true;
    });
  });

  test('an agent of the user may set all of its keys', async () => {
    await using shelf = await Shelf.make({
      'agents/a': matter(
        `${everything}bottle: b\ntemplate: claude\ncommand: [sleep, 1.50]`,
        '\n  Do it.\n\n',
      ),
      'bottles/b': matter('git-gate: { user: { name: B, email: b@b.example } }'),
    });
    const { agent, bottle, warnings } = await shelf.load({ agent: 'a' });
    assert.deepEqual(warnings, []);
    assert.deepEqual(agent, {
      name: 'a',
      source: 'home',
      path: '~/.claude-bottle/agents/a.md',
      prompt: 'Do it.',
      skills: ['review'],
      gitUser: { name: 'A', email: 'a@a.example' },
      bottles: ['b'],
      template: 'claude',
      command: ['sleep', '1.50'],
    });
    assert.deepEqual(bottle.gitUser, { name: 'B', email: 'b@b.example' });
  });

  test("the agent's git user lies over the bottle's, field by field", async () => {
    await using shelf = await Shelf.make({
      'agents/a': matter("bottle: b\ngit-gate: { user: { name: A, email: '' } }"),
      'bottles/b': matter('git-gate: { user: { name: B, email: b@b.example } }'),
    });
    assert.deepEqual((await shelf.load({ agent: 'a' })).agent.gitUser, { name: 'A', email: 'b@b.example' });
  });
});

describe('what comes with a repository', () => {
  test('sets prompt, skills and git identity', async () => {
    await using shelf = await Shelf.make({ 'repo:agents/a': matter(everything, 'Prompt.') });
    const { agent, warnings } = await shelf.load({ agent: 'a' });
    assert.deepEqual(warnings, []);
    assert.deepEqual(agent, {
      name: 'a',
      source: 'repo',
      path: join(shelf.repository, '.claude-bottle/agents/a.md'),
      prompt: 'Prompt.',
      skills: ['review'],
      gitUser: { name: 'A', email: 'a@a.example' },
      bottles: [],
    });
  });

  const reserved = {
    bottle: 'open',
    command: '[sh]',
    template: 'shell',
    extends: 'open',
    env: '{ A: b }',
    agent_provider: '{ template: shell, auth_token: TOKEN }',
    egress: '{ allow: [evil.example], presets: [github-read] }',
    supervise: 'true',
    image: 'evil',
    resources: '{ pids: 100000 }',
    user: 'root',
    backend: 'docker',
  };
  for (const [key, value] of Object.entries(reserved)) {
    test(`never sets ${key}`, async () => {
      await using shelf = await Shelf.make({
        'repo:agents/a': matter(`skills: [s]\n${key}: ${value}`, 'P'),
        'bottles/open': matter('egress: { allow: [open.example] }'),
      });
      const { agent, bottle, warnings } = await shelf.load({ agent: 'a' });
      const plain = await Shelf.make();
      assert.deepEqual(bottle, (await plain.load()).bottle);
      await plain[Symbol.asyncDispose]();
      assert.deepEqual([agent.bottles, agent.command, agent.template], [[], undefined, undefined]);
      assert.equal(warnings.length, 1);
      assert.match(warnings[0]!, new RegExp(`agents/a\\.md:3: \`${key}\` is ignored: .*(repository)`));
    });
  }

  test('never sets repositories with keys', async () => {
    await using shelf = await Shelf.make({
      'repo:agents/a': matter('git-gate:\n  user: { name: A }\n  repos: { x: { url: u, key: k } }'),
    });
    const { agent, warnings } = await shelf.load({ agent: 'a' });
    assert.deepEqual(agent.gitUser, { name: 'A' });
    assert.match(warnings.join(), /a\.md:4: `git-gate\.repos` is ignored: .*credentials/);
  });

  test('does not bring bottles', async () => {
    await using shelf = await Shelf.make({ 'repo:bottles/b': matter('egress: { allow: [evil.example] }') });
    await assert.rejects(shelf.load({ bottles: ['b'] }), BottleUnknown);
    const { warnings } = await shelf.load();
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /repo\/\.claude-bottle\/bottles is ignored: a repository does not define/);
  });

  test('does not reach out of it by a symbolic link, of the file or of a directory', async () => {
    await using shelf = await Shelf.make();
    await writeFile(join(shelf.root, 'outside.md'), matter('', 'secret'));
    await mkdir(join(shelf.repository, '.claude-bottle/agents'), { recursive: true });
    await symlink(join(shelf.root, 'outside.md'), shelf.path('repo:agents/a'));
    const outside = (error: DefinitionUnreadable) => error.fields.reason === 'outside-repository';
    await assert.rejects(shelf.load({ agent: 'a' }), outside);
    await rm(join(shelf.repository, '.claude-bottle'), { recursive: true });
    await mkdir(join(shelf.root, 'dir/agents'), { recursive: true });
    await writeFile(join(shelf.root, 'dir/agents/a.md'), matter('', 'secret'));
    await symlink(join(shelf.root, 'dir'), join(shelf.repository, '.claude-bottle'));
    await assert.rejects(shelf.load({ agent: 'a' }), outside);
  });

  test('may link within it', async () => {
    await using shelf = await Shelf.make({ 'repo:agents/a': matter('', 'P') });
    await symlink('a.md', shelf.path('repo:agents/b'));
    assert.equal((await shelf.load({ agent: 'b' })).agent.prompt, 'P');
  });

  test("is the user's own where the home is the repository", async () => {
    await using shelf = await Shelf.make({ 'agents/a': matter('bottle: b'), 'bottles/b': matter('') });
    const { agent, warnings } = await shelf.load({ agent: 'a', repository: shelf.home });
    assert.deepEqual([agent.source, warnings], ['home', []]);
  });
});

describe('files', () => {
  test('of the home may be symbolic links', async () => {
    await using shelf = await Shelf.make({ 'bottles/real': matter('egress: { allow: [a.example] }') });
    await writeFile(join(shelf.root, 'dotfile.md'), matter('extends: real'));
    await symlink(join(shelf.root, 'dotfile.md'), shelf.path('bottles/linked'));
    const { bottle } = await shelf.load({ bottles: ['linked'] });
    assert.deepEqual(bottle.rules.map(formatRule), ['allow a.example']);
    assert.deepEqual(bottle.rules[0]?.origin, {
      kind: 'file',
      path: '~/.claude-bottle/bottles/real.md',
      line: 2,
    });
  });

  const unreadable = {
    'too-large': matter('', 'x'.repeat(256 * 1024)),
    'not-text': `${matter('')}\0`,
  };
  for (const [reason, text] of Object.entries(unreadable)) {
    test(`${reason} is refused`, async () => {
      await using shelf = await Shelf.make({ 'agents/a': text });
      await assert.rejects(
        shelf.load({ agent: 'a' }),
        (error: DefinitionUnreadable) => error.fields.reason === reason,
      );
    });
  }
  test('that are no UTF-8 are refused', async () => {
    await using shelf = await Shelf.make({ 'agents/a': '' });
    await writeFile(shelf.path('agents/a'), Buffer.from('---\n---\n\xff', 'latin1'));
    await assert.rejects(
      shelf.load({ agent: 'a' }),
      (error: DefinitionUnreadable) => error.fields.reason === 'not-text',
    );
  });
  test('that are directories or pipes are refused, and do not hold us up', async () => {
    await using shelf = await Shelf.make({ 'agents/x': '' });
    await mkdir(shelf.path('agents/a'));
    await run('mkfifo', [shelf.path('agents/b')]);
    for (const agent of ['a', 'b']) {
      await assert.rejects(
        shelf.load({ agent }),
        (error: DefinitionUnreadable) => error.fields.reason === 'not-a-file',
      );
    }
  });
  test('with Windows line ends and a byte order mark are read, lines counted as an editor does', async () => {
    await using shelf = await Shelf.make({
      'agents/a': '\ufeff---\r\nskills: [s]\r\n---\r\nOne\r\nTwo\r\n',
      'agents/b': '---\r\nskills: [s]\r\n\r\nskils: [s]\r\n---\r\n',
    });
    const { agent } = await shelf.load({ agent: 'a' });
    assert.deepEqual([agent.skills, agent.prompt], [['s'], 'One\nTwo']);
    await assert.rejects(
      shelf.load({ agent: 'b' }),
      (error: DefinitionInvalid) => error.fields.problems[0]?.line === 4,
    );
  });
});
