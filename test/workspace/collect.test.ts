import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { InnerGitKilled } from '../../src/workspace/errors.ts';
import type { Place } from '../../src/workspace/place.ts';
import { reviewCommands } from '../../src/workspace/review.ts';
import { bottle } from './bottle.ts';
import { git, put, repository, snapshot, temporary, untouched } from './repository.ts';

function commit(inside: string, files: Readonly<Record<string, string | Buffer>>, message = 'work'): string {
  put(inside, files);
  git(inside, 'add', '-A');
  git(inside, 'commit', '-qm', message);
  return git(inside, 'rev-parse', 'HEAD');
}

describe('work that was committed', () => {
  test('comes out as a branch with the same commits, and nothing else of the repository changes', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source, { 'a.txt': 'a\n', 'b.txt': 'b\n', dead: 'x\n' });
    put(source, { 'a.txt': 'not committed\n', untracked: 'mine\n' });
    using one = await bottle(source);
    commit(one.inside, { 'a.txt': 'a\nmore\n' }, 'first of all');
    rmSync(join(one.inside, 'dead'));
    const tip = commit(one.inside, { 'new/file.txt': '1\n2\n' }, 'second \u001b[31mred\u001b[0m \u202egnp');
    const before = untouched(source);
    const collected = await one.collect();
    assert.deepEqual(untouched(source), before);
    assert.equal(collected.branch, 'bottle/demo-x1y2z');
    assert.equal(collected.tip, tip);
    assert.equal(git(source, 'rev-parse', 'bottle/demo-x1y2z'), tip);
    git(source, 'fsck', '--strict');
    assert.equal(collected.via, 'commits');
    assert.deepEqual(collected.commits, {
      count: 2,
      subjects: ['second \\x1b[31mred\\x1b[0m \\u{202e}gnp', 'first of all'],
    });
    assert.deepEqual(collected.files, [
      { path: 'a.txt', status: 'modified', added: 1, removed: 0 },
      { path: 'dead', status: 'deleted', added: 0, removed: 1 },
      { path: 'new/file.txt', status: 'added', added: 2, removed: 0 },
    ]);
    assert.deepEqual(collected.totals, { files: 3, added: 3, removed: 1 });
    assert.equal(collected.uncommittedLeft, 0);
    assert.equal(collected.rewritten, false);
    const packs = execFileSync('ls', [join(source, '.git/objects/pack')])
      .toString()
      .split('\n')
      .filter(Boolean);
    assert.ok(
      packs.every((name) => /^pack-[0-9a-f]+\.(pack|idx)$/.test(name)),
      packs.join(' '),
    );
  });

  test('brings no object along that the branch does not need', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    using one = await bottle(source);
    commit(one.inside, { b: 'b' });
    git(one.inside, 'switch', '-qc', 'aside');
    const aside = commit(one.inside, { c: 'c' });
    git(one.inside, 'switch', '-q', 'main');
    put(one.inside, { 'a.txt': 'stashed\n' });
    git(one.inside, 'stash');
    const collected = await one.collect();
    assert.throws(() => git(source, 'cat-file', '-e', aside));
    assert.deepEqual(collected.otherBranches, ['aside', 'stash']);
  });

  test('no work is no branch', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    using one = await bottle(source);
    const before = snapshot(source);
    assert.equal((await one.collect({ uncommitted: true })).branch, undefined);
    put(one.inside, { new: 'new' });
    const collected = await one.collect();
    assert.equal(collected.branch, undefined);
    assert.equal(collected.uncommittedLeft, 1);
    assert.deepEqual(snapshot(source), before);
    commit(one.inside, {});
    assert.equal((await one.collect()).commits?.count, 1);
  });

  for (const doing of ['--version', 'rev-parse', 'cat-file', 'rev-list', 'status']) {
    test(`a git that is killed at ${doing} has not said that there is nothing`, async () => {
      using directory = temporary();
      const source = join(directory.path, 'source');
      repository(source);
      using one = await bottle(source);
      commit(one.inside, { b: 'b' });
      const before = snapshot(source);
      const argv = (asked: readonly string[]) =>
        asked.includes(doing) ? ['sh', '-c', 'kill -KILL $$'] : asked;
      const place: Place = {
        ...one.place,
        exec: async (asked, options) => {
          const result = await one.place.exec(argv(asked), options);
          return asked.includes(doing) ? { ...result, code: 137 } : result;
        },
        stream: (asked, options) => {
          const stream = one.place.stream(argv(asked), options);
          return asked.includes(doing)
            ? { ...stream, done: stream.done.then((result) => ({ ...result, code: 137 })) }
            : stream;
        },
      };
      await assert.rejects(one.collect({ uncommitted: true }, place), InnerGitKilled);
      assert.deepEqual(snapshot(source), before);
    });
  }

  test('a branch of that name is never overwritten, and one called bottle is no obstacle', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    using one = await bottle(source);
    commit(one.inside, { b: 'b' });
    assert.equal((await one.collect()).branch, 'bottle/demo-x1y2z');
    const tip = git(source, 'rev-parse', 'bottle/demo-x1y2z');
    commit(one.inside, { c: 'c' });
    git(source, 'pack-refs', '--all');
    assert.equal((await one.collect()).branch, 'bottle/demo-x1y2z-2');
    assert.equal((await one.collect()).branch, 'bottle/demo-x1y2z-3');
    assert.equal(git(source, 'rev-parse', 'bottle/demo-x1y2z'), tip);
    for (const name of ['', '-2', '-3']) git(source, 'branch', '-qD', `bottle/demo-x1y2z${name}`);
    git(source, 'branch', 'bottle');
    assert.equal((await one.collect()).branch, 'bottle-demo-x1y2z');
  });

  test('history that was rewritten inside comes out, and is called that', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    commit(source, { b: 'b' });
    using one = await bottle(source);
    git(one.inside, 'commit', '-q', '--amend', '-m', 'amended');
    const collected = await one.collect();
    assert.equal(collected.rewritten, true);
    assert.deepEqual(collected.commits, { count: 1, subjects: ['amended'] });
  });

  test('into a linked worktree, a shallow clone, a detached HEAD and a repository of sha256', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    commit(source, { b: 'b' });
    git(directory.path, 'clone', '-q', '--depth=1', `file://${source}`, 'shallow');
    git(source, 'worktree', 'add', '-q', '--detach', '../linked');
    const sha256 = join(directory.path, 'sha256');
    mkdirSync(sha256);
    git(sha256, 'init', '-q', '--object-format=sha256');
    commit(sha256, { a: 'a' });
    for (const name of ['linked', 'shallow', 'sha256']) {
      const receiver = join(directory.path, name);
      using one = await bottle(receiver);
      const tip = commit(one.inside, { c: name });
      const collected = await one.collect({ slug: name });
      assert.equal(git(receiver, 'rev-parse', `bottle/${name}`), tip);
      assert.equal(collected.commits?.count, 1);
      git(receiver, 'fsck');
    }
    assert.equal(
      git(source, 'for-each-ref', '--format=%(refname)', 'refs/heads/bottle'),
      'refs/heads/bottle/linked',
    );
  });

  test('twenty at once into one repository', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    using one = await bottle(source);
    const tip = commit(one.inside, { b: 'b' });
    const all = await Promise.all(
      Array.from({ length: 20 }, (_, number) =>
        one.collect({ slug: number % 2 === 0 ? 'same' : `s${number}` }),
      ),
    );
    assert.equal(new Set(all.map(({ branch }) => branch)).size, 20);
    const branches = git(source, 'for-each-ref', '--format=%(objectname)', 'refs/heads/bottle').split('\n');
    assert.equal(branches.length, 20);
    assert.ok(branches.every((one) => one === tip));
    git(source, 'fsck');
  });
});

describe('work that was not committed', () => {
  test('comes out as one more commit, and inside nothing moves', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source, { '.gitignore': '*.log\n', a: '1\n', gone: 'x\n' });
    using one = await bottle(source);
    const head = commit(one.inside, { b: 'b\n' });
    put(one.inside, { a: '2\n', new: 'new\n', 'x.log': 'ignored', 'forced.log': 'forced' });
    git(one.inside, 'add', '-f', 'forced.log');
    rmSync(join(one.inside, 'gone'));
    const settled = (path: string) => path.startsWith('.git/objects');
    const before = snapshot(one.inside, settled);
    const collected = await one.collect({ uncommitted: true });
    const after = snapshot(one.inside, settled);
    assert.deepEqual(
      Object.keys(after).filter((path) => after[path] !== before[path] && path !== '.git/refs/claude-bottle'),
      [],
    );
    assert.equal(collected.uncommittedCommit, true);
    assert.equal(collected.uncommittedLeft, 0);
    assert.equal(git(source, 'rev-parse', 'bottle/demo-x1y2z^'), head);
    assert.equal(
      git(source, 'log', '-1', '--format=%an <%ae> %s', 'bottle/demo-x1y2z'),
      'Ada <ada@example.org> Uncommitted work of bottle demo-x1y2z',
    );
    assert.equal(
      git(source, 'ls-tree', '-r', '--name-only', 'bottle/demo-x1y2z'),
      '.gitignore\na\nb\nforced.log\nnew',
    );
  });

  test('is counted when it is not asked for', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    using one = await bottle(source, true);
    commit(one.inside, { b: 'b\n' });
    put(one.inside, { 'new\nline': '', other: '' });
    const collected = await one.collect();
    assert.equal(collected.uncommittedLeft, 2);
    assert.equal(collected.uncommittedCommit, false);
  });
});

describe('where nothing inside can tell', () => {
  const without = (one: Awaited<ReturnType<typeof bottle>>) => ({
    ...one.place,
    exec: async () => ({ code: 127, stdout: '', stderr: 'no git' }),
  });

  test('the files come out as one commit on top of the base, without what is ignored', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source, {
      '.gitignore': 'node_modules/\n*.secret\n',
      a: '1\n',
      gone: 'x\n',
      'run.sh': '#!/bin/sh\n',
    });
    using one = await bottle(source);
    assert.equal((await one.collect({}, without(one))).branch, undefined);
    rmSync(join(one.inside, 'gone'));
    put(one.inside, {
      a: '2\n',
      // What an agent takes out of the list is still not brought, and what it adds is not either.
      '.gitignore': 'build/\n',
      'node_modules/x/index.js': 'x',
      'key.secret': 'x',
      'build/out': 'x',
      new: 'new\n',
      'new\nline': 'x',
      ':(glob)*': 'x',
      '-flag': 'x',
      'vendor/.git/config': '[core]\n\tfsmonitor = false\n',
      'vendor/.GIT/config': 'x',
      'vendor/file': 'x',
    });
    chmodSync(join(one.inside, 'run.sh'), 0o755);
    symlinkSync('/etc/passwd', join(one.inside, 'link'));
    execFileSync('mkfifo', [join(one.inside, 'pipe')]);
    const before = untouched(source);
    const collected = await one.collect({}, without(one));
    assert.deepEqual(untouched(source), before);
    assert.equal(collected.via, 'files');
    assert.equal(collected.filesBecause, 'no-git');
    assert.equal(git(source, 'rev-parse', `${collected.branch ?? ''}^`), one.staged.base);
    const names = git(
      source,
      '-c',
      'core.quotePath=true',
      'diff-tree',
      '-r',
      '--name-status',
      one.staged.base,
      collected.branch ?? '',
    );
    assert.deepEqual(
      names.split('\n').sort(),
      [
        'A\t"new\\nline"',
        'A\t-flag',
        'A\t:(glob)*',
        'A\tlink',
        'A\tnew',
        'A\tvendor/file',
        'D\tgone',
        'M\t.gitignore',
        'M\ta',
        'M\trun.sh',
      ].sort(),
    );
    assert.deepEqual(collected.linksOut, [{ path: 'link', target: '/etc/passwd' }]);
    assert.deepEqual(collected.madeExecutable, ['run.sh']);
    assert.deepEqual(collected.leftOut, ['pipe']);
    git(source, 'fsck', '--strict');
  });

  test('also when the repository inside is gone, or is another', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    using one = await bottle(source);
    rmSync(join(one.inside, '.git'), { recursive: true });
    put(one.inside, { b: 'b' });
    const first = await one.collect({ slug: 'gone' });
    assert.equal(first.filesBecause, 'no-repository');
    assert.equal(git(source, 'ls-tree', '-r', '--name-only', 'bottle/gone'), 'a.txt\nb');
    git(one.inside, 'init', '-q');
    commit(one.inside, { c: 'c' });
    const second = await one.collect({ slug: 'other' });
    assert.equal(second.filesBecause, 'unrelated');
    assert.equal(git(source, 'ls-tree', '-r', '--name-only', 'bottle/other'), 'a.txt\nb\nc');
    assert.equal(git(source, 'rev-parse', 'bottle/other^'), one.staged.base);
  });
});

test('what runs on the host, leads out of the tree or became executable is listed', async () => {
  using directory = temporary();
  const source = join(directory.path, 'source');
  repository(source, { tool: 'x', sub: 'x' });
  using one = await bottle(source);
  put(one.inside, {
    '.husky/pre-commit': 'x',
    'web/package.json': '{}',
    'src/Makefile': '',
    '.VSCode/tasks.json': '{}',
    'plain.txt': '',
  });
  chmodSync(join(one.inside, 'tool'), 0o755);
  symlinkSync('../../etc', join(one.inside, 'up'));
  symlinkSync('src/Makefile', join(one.inside, 'fine'));
  symlinkSync('.git/config', join(one.inside, 'into'));
  commit(one.inside, {});
  const collected = await one.collect();
  assert.deepEqual(
    collected.executes?.map(({ path, tier }) => [path, tier]),
    [
      ['.VSCode/tasks.json', 1],
      ['.husky/pre-commit', 1],
      ['src/Makefile', 2],
      ['web/package.json', 2],
    ],
  );
  assert.deepEqual(collected.linksOut, [
    { path: 'into', target: '.git/config' },
    { path: 'up', target: '../../etc' },
  ]);
  assert.deepEqual(collected.madeExecutable, ['tool']);
});

describe('the two commands', () => {
  test('show and merge the branch as typed', async () => {
    using directory = temporary();
    const source = join(directory.path, "it's a place");
    repository(source);
    using one = await bottle(source);
    const tip = commit(one.inside, { b: 'b\n' });
    const { branch = '', base, repository: at } = await one.collect();
    const { review, merge } = reviewCommands(one.workspace, { branch, base, repository: at });
    assert.match(execFileSync('sh', ['-c', review]).toString(), /^\+b$/m);
    execFileSync('sh', ['-c', merge]);
    assert.equal(git(source, 'rev-parse', 'HEAD'), tip);
  });

  test('of a folder, whose work comes to a repository beside it', async () => {
    using directory = temporary();
    const source = join(directory.path, 'plain folder');
    put(source, { a: 'a\n' });
    using one = await bottle(source, false, true);
    commit(one.inside, { a: 'changed\n', b: Buffer.from([0, 1, 2]) });
    const { branch = '', base, repository: at } = await one.collect();
    assert.equal(at, one.folderRepository);
    const { review, merge } = reviewCommands(one.workspace, { branch, base, repository: at });
    assert.match(execFileSync('sh', ['-c', review]).toString(), /^\+changed$/m);
    execFileSync('sh', ['-c', merge]);
    assert.equal(readFileSync(join(source, 'a'), 'utf8'), 'changed\n');
    assert.deepEqual([...readFileSync(join(source, 'b'))], [0, 1, 2]);
  });
});
