import assert from 'node:assert/strict';
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseChanges } from '../../src/workspace/changes.ts';
import { inspectWorkspace } from '../../src/workspace/inspect.ts';
import { git, put, repository, temporary } from './repository.ts';

const unusable = (reason: string) => (error: { tag?: string; fields?: { reason: string } }) =>
  error.tag === 'WorkspaceUnusable' && error.fields?.reason === reason;

async function withVariables<Result>(
  variables: Record<string, string>,
  work: () => Promise<Result>,
): Promise<Result> {
  const before = new Map(Object.keys(variables).map((name) => [name, process.env[name]]));
  Object.assign(process.env, variables);
  try {
    return await work();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

describe('what is not usable says why', () => {
  test('no directory, no repository, a bare one, one without a commit, a broken one', async () => {
    using directory = temporary();
    const at = (name: string) => join(directory.path, name);
    await assert.rejects(inspectWorkspace(at('none')), unusable('no-directory'));
    await assert.rejects(inspectWorkspace(at('none'), { copy: true }), unusable('no-directory'));
    mkdirSync(at('plain'));
    await assert.rejects(inspectWorkspace(at('plain')), unusable('not-a-repository'));
    mkdirSync(at('bare'));
    git(at('bare'), 'init', '-q', '--bare');
    await assert.rejects(inspectWorkspace(at('bare')), unusable('bare'));
    mkdirSync(at('unborn'));
    git(at('unborn'), 'init', '-q');
    await assert.rejects(inspectWorkspace(at('unborn')), unusable('no-commit'));
    mkdirSync(at('broken/.git'), { recursive: true });
    await assert.rejects(inspectWorkspace(at('broken')), unusable('broken'));
  });

  test('with copy, a folder is a folder, and a repository stays one', async () => {
    using directory = temporary();
    assert.deepEqual(await inspectWorkspace(directory.path, { copy: true }), {
      kind: 'folder',
      root: directory.path,
    });
    git(directory.path, 'init', '-q');
    assert.equal((await inspectWorkspace(directory.path, { copy: true })).kind, 'folder');
    repository(directory.path);
    assert.equal((await inspectWorkspace(directory.path, { copy: true })).kind, 'repository');
  });

  test(
    'a repository of another user, unless the user trusts it',
    { skip: process.getuid?.() === 0 ? false : 'only root can give a repository away' },
    async () => {
      using directory = temporary();
      const source = join(directory.path, 'source');
      repository(source);
      chownSync(join(source, '.git'), 4242, 4242);
      await assert.rejects(inspectWorkspace(source), unusable('foreign'));
      const config = join(directory.path, 'gitconfig');
      writeFileSync(config, `[safe]\n\tdirectory = ${source}\n`);
      const workspace = await withVariables({ GIT_CONFIG_GLOBAL: config }, () => inspectWorkspace(source));
      assert.equal(workspace.kind, 'repository');
      writeFileSync(config, `[safe]\n\tdirectory = ${source}\n\tdirectory =\n`);
      await assert.rejects(
        withVariables({ GIT_CONFIG_GLOBAL: config }, () => inspectWorkspace(source)),
        unusable('foreign'),
      );
    },
  );

  test('no git at all', async () => {
    using directory = temporary();
    repository(join(directory.path, 'source'));
    await assert.rejects(
      withVariables({ PATH: directory.path }, () => inspectWorkspace(join(directory.path, 'source'))),
      (error: { tag?: string }) => error.tag === 'GitMissing',
    );
  });
});

test('a subdirectory belongs to the repository around it, and core.worktree moves nothing', async () => {
  using directory = temporary();
  const source = join(directory.path, 'source');
  repository(source, { 'deep/a': 'a' });
  git(source, 'config', 'core.worktree', '/');
  const workspace = await inspectWorkspace(join(source, 'deep'));
  assert.equal(workspace.root, source);
  assert.ok(workspace.kind === 'repository');
  assert.equal(workspace.modified.count, 0);
});

test("what the user's own list ignores is not counted", async () => {
  using directory = temporary();
  const source = join(directory.path, 'source');
  repository(source);
  put(source, { one: '', two: '', three: '', four: '' });
  put(directory.path, { 'home/git/ignore': 'one\n', named: 'two\n' });
  put(source, { '.git/info/exclude': 'three\n' });
  const home = join(directory.path, 'home');
  const xdg = { XDG_CONFIG_HOME: home, GIT_CONFIG_GLOBAL: '/dev/null' };
  const first = await withVariables(xdg, () => inspectWorkspace(source));
  assert.ok(first.kind === 'repository');
  assert.deepEqual(first.untracked, { count: 2, first: ['four', 'two'] });
  writeFileSync(join(directory.path, 'gitconfig'), `[core]\n\texcludesFile = ${directory.path}/named\n`);
  const global = { GIT_CONFIG_GLOBAL: join(directory.path, 'gitconfig') };
  const second = await withVariables(global, () => inspectWorkspace(source));
  assert.ok(second.kind === 'repository');
  assert.deepEqual(second.untracked, { count: 2, first: ['four', 'one'] });
});

test('a merge in progress is seen, with what it could not merge', async () => {
  using directory = temporary();
  const source = join(directory.path, 'source');
  repository(source, { a: '1\n' });
  git(source, 'switch', '-qc', 'other');
  put(source, { a: '2\n' });
  git(source, 'commit', '-qam', '2');
  git(source, 'switch', '-q', 'main');
  put(source, { a: '3\n' });
  git(source, 'commit', '-qam', '3');
  assert.throws(() => git(source, 'merge', 'other'));
  const workspace = await inspectWorkspace(source);
  assert.ok(workspace.kind === 'repository');
  assert.equal(workspace.inProgress, 'merge');
  assert.deepEqual(workspace.modified, { count: 1, first: ['a'] });
});

test('records of changes are read with any path', () => {
  const output = [
    '1 .M N... 100644 100644 100644 aa bb with space and\nline',
    '1 D. N... 100644 000000 000000 aa 00 gone',
    'u UU N... 100644 100644 100644 100644 a b c both ways',
    '? new',
    '? nested/',
    '',
  ].join('\0');
  assert.deepEqual(parseChanges(output), {
    tracked: [
      { path: 'with space and\nline', present: true },
      { path: 'gone', present: false },
      { path: 'both ways', present: true },
    ],
    untracked: ['new'],
    nested: ['nested/'],
  });
});
