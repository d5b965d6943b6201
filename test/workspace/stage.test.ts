import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { inspectWorkspace } from '../../src/workspace/inspect.ts';
import { type StageOptions, stageWorkspace } from '../../src/workspace/stage.ts';
import { git, gitBytes, put, repository, snapshot, temporary, unpack } from './repository.ts';

const account = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

async function stage(from: string, to: string, options: Partial<StageOptions> = {}, copy = false) {
  const scratchDirectory = `${to}-scratch`;
  mkdirSync(scratchDirectory, { recursive: true });
  const workspace = await inspectWorkspace(from, { copy });
  const staged = await stageWorkspace(workspace, {
    dirty: false,
    scratchDirectory,
    account,
    folderRepository: `${to}-folder.git`,
    ...options,
  });
  await unpack(staged.tar(), to);
  return { staged, workspace, inside: join(to, 'workspace') };
}

describe('staging a repository', () => {
  test('gives a clean repository with the branch, the whole history and the files of HEAD', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source, { 'a.txt': 'a\n', 'deep/er/b.txt': 'b\n', 'run.sh': '#!/bin/sh\n' });
    chmodSync(join(source, 'run.sh'), 0o755);
    symlinkSync('/etc/passwd', join(source, 'link'));
    git(source, 'add', '-A');
    git(source, 'commit', '-qm', 'second');
    const { staged, inside } = await stage(source, join(directory.path, 'out'));
    assert.equal(git(inside, 'rev-parse', 'HEAD'), staged.base);
    assert.equal(git(inside, 'symbolic-ref', 'HEAD'), 'refs/heads/main');
    assert.equal(git(inside, 'rev-list', '--count', 'HEAD'), '2');
    // Before anything refreshed the index: what only compares must see no change either.
    git(inside, 'diff-index', '--quiet', 'HEAD', '--');
    assert.equal(git(inside, 'status', '--porcelain'), '');
    git(inside, 'fsck', '--strict');
    assert.equal(lstatSync(join(inside, 'run.sh')).mode & 0o777, 0o755);
    assert.equal(readlinkSync(join(inside, 'link')), '/etc/passwd');
    assert.equal(staged.fileCount, 4);
    assert.deepEqual(staged.notes, []);
    git(inside, 'commit', '-q', '--allow-empty', '-m', 'works');
  });

  test('takes no other branch, tag, remote, reflog, stash, hook or unreachable object along', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    git(source, 'remote', 'add', 'origin', 'https://user:secret@example.org/x.git');
    git(source, 'switch', '-qc', 'other');
    put(source, { 'secret.txt': 'other branch\n' });
    git(source, 'add', '-A');
    git(source, 'commit', '-qm', 'other');
    const other = git(source, 'rev-parse', 'HEAD');
    git(source, 'tag', 'v1');
    git(source, 'switch', '-q', 'main');
    put(source, { 'a.txt': 'stash\n' });
    git(source, 'stash');
    git(source, 'gc', '-q');
    const { inside } = await stage(source, join(directory.path, 'out'));
    assert.throws(() => git(inside, 'cat-file', '-e', other));
    assert.equal(git(inside, 'for-each-ref', '--format=%(refname)'), 'refs/heads/main');
    assert.ok(!readFileSync(join(inside, '.git/config'), 'utf8').includes('secret'));
    assert.ok(!existsSync(join(inside, '.git/hooks')));
    assert.ok(!existsSync(join(inside, '.git/logs')));
    assert.equal(git(inside, 'count-objects', '-v').match(/in-pack: (\d+)/)?.[1], '3');
  });

  test('says what is left out, and with dirty brings it as it is; ignored files never', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source, {
      '.gitignore': '*.log\nsecret/\nforgotten.env\n',
      'modified.txt': '1\n',
      'staged.txt': '1\n',
      'deleted.txt': '1\n',
      'dir/becomes-file': '1\n',
      'becomes-link': '1\n',
      kept: '1\n',
    });
    put(source, {
      'modified.txt': '2\n',
      'staged.txt': '2\n',
      'new.txt': 'new\n',
      'x.log': 'no',
      'secret/key': 'no',
    });
    put(source, { 'forgotten.env': 'no', 'added/forced.log': 'yes' });
    git(source, 'add', 'staged.txt');
    git(source, 'add', '-f', 'added/forced.log', 'forgotten.env');
    git(source, 'commit', '-qm', 'env', 'forgotten.env');
    git(source, 'rm', '-q', '--cached', 'forgotten.env');
    rmSync(join(source, 'deleted.txt'));
    rmSync(join(source, 'dir'), { recursive: true });
    put(source, { dir: 'a file now\n' });
    rmSync(join(source, 'becomes-link'));
    symlinkSync('kept', join(source, 'becomes-link'));
    git(source, 'add', '-N', 'new.txt');

    const clean = await stage(source, join(directory.path, 'clean'));
    assert.equal(git(clean.inside, 'status', '--porcelain'), '');
    const [note] = clean.staged.notes;
    assert.ok(note?.kind === 'changes-left-out');
    assert.deepEqual([...note.modified.first].sort(), [
      'added/forced.log',
      'becomes-link',
      'deleted.txt',
      'dir/becomes-file',
      'forgotten.env',
      'modified.txt',
      'new.txt',
      'staged.txt',
    ]);
    assert.deepEqual(note.untracked.first, ['dir']);

    const { inside, staged } = await stage(source, join(directory.path, 'dirty'), { dirty: true });
    const all = snapshot(inside, (path) => path === '.git');
    assert.deepEqual(Object.keys(all), [
      '.gitignore',
      'added',
      'added/forced.log',
      'becomes-link',
      'dir',
      'kept',
      'modified.txt',
      'new.txt',
      'staged.txt',
    ]);
    assert.equal(readFileSync(join(inside, 'modified.txt'), 'utf8'), '2\n');
    assert.equal(readlinkSync(join(inside, 'becomes-link')), 'kept');
    assert.equal(readFileSync(join(inside, 'dir'), 'utf8'), 'a file now\n');
    assert.equal(git(inside, 'rev-parse', 'HEAD'), staged.base);
    assert.deepEqual(staged.notes, []);
  });

  test('follows no link that took the place of a directory', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source, { 'dir/file': '1\n', x: '1\n' });
    put(directory.path, { 'outside/file': 'secret\n', 'outside/more': 'secret\n' });
    rmSync(join(source, 'dir'), { recursive: true });
    symlinkSync('../outside', join(source, 'dir'));
    const { inside } = await stage(source, join(directory.path, 'out'), { dirty: true });
    assert.equal(readlinkSync(join(inside, 'dir')), '../outside');
    const { inside: clean } = await stage(source, join(directory.path, 'out2'));
    assert.equal(readFileSync(join(clean, 'dir/file'), 'utf8'), '1\n');
  });

  test('carries names of any bytes, and files of any kind of line end', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    const names = [
      'new\nline',
      '-flag',
      '--',
      'ünï',
      '"quote"',
      'back\\slash',
      ' space ',
      'tab\t',
      ':(glob)*',
      '*',
      'x'.repeat(200),
      `${'d/'.repeat(60)}deep`,
    ];
    repository(source, Object.fromEntries(names.map((name) => [name, name])));
    writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0x66, 0xff, 0xfe])]), 'bytes');
    put(source, {
      '.gitattributes': '*.bat text eol=crlf\n*.utf16 text working-tree-encoding=UTF-16LE\n',
      'a.bat': 'one\r\ntwo\r\n',
      'b.utf16': Buffer.from('hé\n', 'utf16le'),
      empty: '',
    });
    git(source, 'add', '-A');
    git(source, 'commit', '-qm', 'more');
    const { inside } = await stage(source, join(directory.path, 'out'));
    const content = (at: string) =>
      Object.fromEntries(
        Object.entries(snapshot(at, (path) => path === '.git')).map(([path, what]) => [
          path,
          what.split(' ').at(-1),
        ]),
      );
    const files = (at: string) => Object.entries(content(at)).filter(([, what]) => what?.length === 64);
    assert.deepEqual(files(inside), files(source));
    git(inside, 'diff-index', '--quiet', 'HEAD', '--');
    assert.equal(git(inside, 'status', '--porcelain'), '');
    put(source, Object.fromEntries(names.map((name) => [name, `${name} changed`])));
    const dirty = await stage(source, join(directory.path, 'dirty'), { dirty: true });
    assert.deepEqual(files(dirty.inside), files(source));
  });

  test('a detached HEAD stays detached, and a shallow history stays as short', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    for (const name of ['b', 'c', 'd']) {
      put(source, { [name]: name });
      git(source, 'add', '-A');
      git(source, 'commit', '-qm', name);
    }
    git(directory.path, 'clone', '-q', '--depth=2', `file://${source}`, 'shallow');
    const shallow = join(directory.path, 'shallow');
    git(shallow, 'switch', '-q', '--detach');
    const { inside, staged, workspace } = await stage(shallow, join(directory.path, 'out'));
    assert.equal(staged.branch, undefined);
    assert.ok(workspace.kind === 'repository' && workspace.shallow && workspace.branch === undefined);
    assert.deepEqual(staged.notes, [{ kind: 'shallow' }]);
    assert.throws(() => git(inside, 'symbolic-ref', 'HEAD'));
    assert.equal(git(inside, 'rev-list', '--count', 'HEAD'), '2');
    git(inside, 'fsck');
  });

  test('linked worktrees, sparse ones, submodules and pointers of LFS', async () => {
    using directory = temporary();
    const library = join(directory.path, 'library');
    repository(library);
    const source = join(directory.path, 'source');
    const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 5\n';
    repository(source, {
      '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n',
      'x.bin': pointer,
      'in/a': 'a',
      'out/b': 'b',
    });
    git(source, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', library, 'sub');
    git(source, 'commit', '-qm', 'sub');
    git(source, 'worktree', 'add', '-q', '-b', 'linked', '../linked');
    const linked = join(directory.path, 'linked');
    git(linked, 'sparse-checkout', 'set', 'in');
    const { inside, staged, workspace } = await stage(linked, join(directory.path, 'out'), { dirty: true });
    assert.ok(workspace.kind === 'repository' && workspace.linkedWorktree && workspace.sparse);
    assert.deepEqual(workspace.modified, { count: 0, first: [] });
    assert.deepEqual(workspace.submodules, { count: 1, first: ['sub'] });
    assert.equal(git(inside, 'symbolic-ref', 'HEAD'), 'refs/heads/linked');
    assert.equal(git(inside, 'status', '--porcelain'), '');
    assert.equal(readFileSync(join(inside, 'x.bin'), 'utf8'), pointer);
    assert.equal(readFileSync(join(inside, 'out/b'), 'utf8'), 'b');
    assert.ok(lstatSync(join(inside, 'sub')).isDirectory());
    assert.deepEqual(staged.notes.map(({ kind }) => kind).sort(), [
      'sparse',
      'submodules-left-out',
      'unfiltered',
    ]);
  });

  test('a repository of sha256 objects', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    mkdirSync(source);
    git(source, 'init', '-q', '-b', 'main', '--object-format=sha256');
    put(source, { a: 'a' });
    git(source, 'add', '-A');
    git(source, 'commit', '-qm', 'first');
    const { inside, staged } = await stage(source, join(directory.path, 'out'));
    assert.equal(git(inside, 'rev-parse', 'HEAD'), staged.base);
    assert.equal(staged.base.length, 64);
    git(inside, 'diff-index', '--quiet', 'HEAD', '--');
  });

  test('a file that grows or goes while it is read leaves the archive whole, and is named', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    put(source, {
      'big-1': Buffer.alloc(40 << 20, 1),
      'big-2': Buffer.alloc(20 << 20, 2),
      gone: 'x',
      last: 'last',
    });
    const scratchDirectory = join(directory.path, 'scratch');
    mkdirSync(scratchDirectory);
    const staged = await stageWorkspace(await inspectWorkspace(source), {
      dirty: true,
      scratchDirectory,
      account,
    });
    const tar = staged.tar();
    // Once the first bytes of the large file are there, its size has been announced.
    let seen = 0;
    const { Transform } = await import('node:stream');
    const watch = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        seen += chunk.length;
        if (seen > 1 << 20 && existsSync(join(source, 'gone'))) {
          appendFileSync(join(source, 'big-1'), Buffer.alloc(1 << 20, 3));
          rmSync(join(source, 'gone'));
        }
        done(undefined, chunk);
      },
    });
    await unpack(tar.pipe(watch), join(directory.path, 'out'));
    const inside = join(directory.path, 'out/workspace');
    assert.equal(lstatSync(join(inside, 'big-1')).size, 40 << 20);
    assert.equal(readFileSync(join(inside, 'last'), 'utf8'), 'last');
    assert.ok(!existsSync(join(inside, 'gone')));
    assert.deepEqual([...staged.changedWhileRead].sort(), ['big-1', 'gone']);
  });

  test('changes nothing in the repository it copies', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    put(source, { 'a.txt': 'changed\n', new: 'new\n' });
    const before = snapshot(source);
    await stage(source, join(directory.path, 'out'), { dirty: true });
    assert.deepEqual(snapshot(source), before);
  });

  test('gives everything to the account, and the identity to the copy', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    const scratchDirectory = join(directory.path, 'scratch');
    mkdirSync(scratchDirectory);
    const staged = await stageWorkspace(await inspectWorkspace(source), {
      dirty: false,
      scratchDirectory,
      account: { uid: 3_000_000, gid: 1234 },
      identity: { name: 'Ada "L"\n[core]', email: 'ada@example.org' },
    });
    await unpack(staged.tar(), join(directory.path, 'out'));
    const inside = join(directory.path, 'out/workspace');
    if (process.getuid?.() === 0) {
      for (const path of ['', '.git', '.git/config', 'a.txt']) {
        const { uid, gid } = lstatSync(join(inside, path));
        assert.deepEqual({ uid, gid }, { uid: 3_000_000, gid: 1234 });
      }
    }
    const name = gitBytes(
      directory.path,
      ['config', '--file', join(inside, '.git/config'), 'user.name'],
      undefined,
    );
    assert.equal(name.toString(), 'Ada "L"\n[core]\n');
  });

  test('has an identity of ours where nobody gives one, so that git commits at once', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    repository(source);
    const out = join(directory.path, 'out');
    await stage(source, out);
    const config = join(out, 'workspace/.git/config');
    for (const [key, value] of [
      ['user.name', 'claude-bottle'],
      ['user.email', 'claude-bottle@localhost'],
    ]) {
      assert.equal(git(directory.path, 'config', '--file', config, String(key)), value);
    }
  });
});

describe('staging a folder', () => {
  test('gives a repository with one commit; ignored files and repositories inside stay out', async () => {
    using directory = temporary();
    const source = join(directory.path, 'source');
    put(source, { '.gitignore': 'no\n', no: 'no', a: 'a', 'b/c': 'c' });
    repository(join(source, 'nested'));
    const before = snapshot(source);
    const { inside, staged } = await stage(source, join(directory.path, 'out'), {}, true);
    assert.deepEqual(Object.keys(snapshot(inside, (path) => path === '.git')), [
      '.gitignore',
      'a',
      'b',
      'b/c',
    ]);
    assert.equal(git(inside, 'rev-list', '--count', 'HEAD'), '1');
    assert.equal(git(inside, 'status', '--porcelain'), '');
    assert.deepEqual(
      staged.notes.map(({ kind }) => kind),
      ['repositories-left-out'],
    );
    assert.deepEqual(snapshot(source), before);
  });
});
