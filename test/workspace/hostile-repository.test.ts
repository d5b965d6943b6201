import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { collectWork } from '../../src/workspace/collect.ts';
import { inspectWorkspace } from '../../src/workspace/inspect.ts';
import { stageWorkspace } from '../../src/workspace/stage.ts';
import { git, localPlace, marker, put, repository, temporary, unpack } from './repository.ts';

const hooks = [
  'applypatch-msg',
  'pre-applypatch',
  'post-applypatch',
  'pre-commit',
  'pre-merge-commit',
  'prepare-commit-msg',
  'commit-msg',
  'post-commit',
  'pre-rebase',
  'post-checkout',
  'post-merge',
  'pre-push',
  'pre-receive',
  'update',
  'proc-receive',
  'post-receive',
  'post-update',
  'reference-transaction',
  'push-to-checkout',
  'pre-auto-gc',
  'post-rewrite',
  'sendemail-validate',
  'fsmonitor-watchman',
  'post-index-change',
];

/** Every way that we know of in which a repository makes git run a program. */
function traps(program: string, other: string): string {
  return `
[core]
	fsmonitor = ${program} fsmonitor
	hooksPath = ${program}-hooks
	sshCommand = ${program} ssh
	editor = ${program} editor
	pager = ${program} pager
	askPass = ${program}
	gitProxy = ${program}
	worktree = ${other}
	alternateRefsCommand = ${program} alternate-refs
	attributesFile = ${other}/attributes
	logAllRefUpdates = always
	untrackedCache = true
[alias]
	status = !${program} alias
	rev-parse = !${program} alias
	cat-file = !${program} alias
[filter "trap"]
	clean = ${program} clean
	smudge = ${program} smudge
	required = true
[filter "trap-process"]
	process = ${program} process
	required = true
[diff]
	external = ${program} external
[diff "trap"]
	textconv = ${program} textconv
	command = ${program} command
	cachetextconv = true
[merge "trap"]
	driver = ${program} merge
[pager]
	status = ${program} pager
	log = ${program} pager
	diff = ${program} pager
[gpg]
	program = ${program}
[gpg "ssh"]
	program = ${program}
	defaultKeyCommand = ${program} key
[commit]
	gpgSign = true
[log]
	showSignature = true
[credential]
	helper = !${program} credential
[uploadpack]
	packObjectsHook = ${program} pack-objects
[url "ext::${program} insteadOf"]
	insteadOf = /
	insteadOf = file://
[protocol]
	allow = always
[protocol "ext"]
	allow = always
[protocol "file"]
	allow = always
[remote "origin"]
	url = ext::${program} remote
	fetch = +refs/heads/*:refs/remotes/origin/*
	promisor = true
	partialCloneFilter = blob:none
	uploadpack = ${program} uploadpack
	vcs = ext
[extensions]
	partialClone = origin
	worktreeConfig = true
[submodule]
	recurse = true
[submodule "sub"]
	url = ext::${program} submodule
	update = !${program} update
	active = true
[fetch]
	recurseSubmodules = true
[interactive]
	diffFilter = ${program}
[sequence]
	editor = ${program}
[gc]
	auto = 1
	recentObjectsHook = ${program} recent
[maintenance]
	auto = true
[receive]
	procReceiveRefs = refs
[trailer "trap"]
	command = ${program}
[init]
	templateDir = ${other}/template
[include]
	path = ${other}/included
[includeIf "gitdir:/"]
	path = ${other}/included
[trace2]
	eventTarget = ${other}/trace
`;
}

test('nothing that a repository configures runs, while it is looked at, staged and given work', async () => {
  using directory = temporary();
  const { program, ran } = marker(directory.path);
  const source = join(directory.path, 'source');
  const other = join(directory.path, 'other');
  put(other, { 'private.txt': 'not below the root\n', attributes: '* filter=trap\n' });
  writeFileSync(
    join(other, 'included'),
    `[core]\n\tfsmonitor = ${program} included\n\tsshCommand = ${program}\n`,
  );
  const template = join(other, 'template/hooks');
  mkdirSync(template, { recursive: true });

  repository(source, {
    '.gitattributes': '*.txt filter=trap diff=trap merge=trap\n*.dat filter=trap-process diff=trap\n',
    'a.txt': 'a\n',
    'b.dat': 'b\n',
    'c.txt': 'c\n',
  });
  const submodule = join(directory.path, 'sub-source');
  repository(submodule);
  git(source, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', submodule, 'sub');
  git(source, 'commit', '-qm', 'sub');
  for (const at of ['.git/hooks', '.git/modules/sub/hooks']) {
    mkdirSync(join(source, at), { recursive: true });
    for (const hook of hooks) {
      writeFileSync(join(source, at, hook), readFileSync(program));
      chmodSync(join(source, at, hook), 0o755);
      writeFileSync(join(template, hook), readFileSync(program));
      chmodSync(join(template, hook), 0o755);
    }
  }
  mkdirSync(`${program}-hooks`);
  for (const hook of hooks) {
    writeFileSync(join(`${program}-hooks`, hook), readFileSync(program));
    chmodSync(join(`${program}-hooks`, hook), 0o755);
  }
  const nested = join(source, 'nested');
  repository(nested);
  const trapped = ['.git', '.git/modules/sub', 'nested/.git'];
  for (const at of trapped) {
    const format = '[core]\n\trepositoryformatversion = 1\n\tbare = false\n';
    writeFileSync(join(source, at, 'config'), format + traps(program, other));
  }
  writeFileSync(join(source, '.git/config.worktree'), `[core]\n\tfsmonitor = ${program} worktree\n`);
  writeFileSync(join(source, '.git/info/attributes'), '* filter=trap diff=trap\n');
  // Changes, so that git has a reason to look at content.
  put(source, { 'a.txt': 'x\n', 'c.txt': 'c\n', 'new.txt': 'new\n', 'sub/a.txt': 'changed\n' });

  // The traps themselves work: what a user would type falls into them.
  const typed = [
    ['status'],
    ['diff'],
    ['update-ref', 'refs/heads/x', 'HEAD'],
    ['cat-file', '-p', 'x'],
    ['fetch'],
  ];
  for (const args of typed) {
    try {
      git(source, '--work-tree', source, ...args);
    } catch {
      // Falling into it may well fail the command.
    }
  }
  const sprung = ran().join('\n');
  const known = [
    'worktree',
    'included',
    'clean',
    'smudge',
    'command',
    'reference-transaction',
    'post-index-change',
  ];
  for (const trap of known) assert.match(sprung, new RegExp(trap));
  writeFileSync(join(directory.path, 'marks'), '');

  const workspace = await inspectWorkspace(source);
  assert.ok(workspace.kind === 'repository');
  assert.equal(workspace.root, source);
  assert.equal(workspace.partial, true);
  assert.deepEqual(ran(), []);

  const scratchDirectory = join(directory.path, 'scratch');
  mkdirSync(scratchDirectory);
  const account = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const staged = await stageWorkspace(workspace, { dirty: true, scratchDirectory, account });
  await unpack(staged.tar(), join(directory.path, 'out'));
  assert.deepEqual(ran(), []);
  const inside = join(directory.path, 'out/workspace');
  assert.equal(readFileSync(join(inside, 'a.txt'), 'utf8'), 'x\n');
  assert.ok(!readFileSync(join(inside, '.git/config'), 'utf8').includes(program));

  put(inside, { 'a.txt': 'work\n', 'd.txt': 'work\n', 'e.dat': 'work\n' });
  git(inside, 'add', '-A');
  git(inside, 'commit', '-qm', 'work');
  const options = { workspace, base: staged.base, uncommitted: true, scratchDirectory };
  const collected = await collectWork(localPlace(inside), { ...options, slug: 'one', directory: inside });
  assert.equal(collected.branch, 'bottle/one');
  const without = localPlace(inside, { path: directory.path });
  put(directory.path, { env: '#!/bin/sh\nexit 127\n' });
  const files = await collectWork(
    { ...without, exec: async () => ({ code: 127, stdout: '', stderr: '' }) },
    { ...options, slug: 'two', directory: inside },
  );
  assert.equal(files.via, 'files');
  assert.equal(files.branch, 'bottle/two');
  assert.deepEqual(ran(), []);
});

test('a missing object of a partial clone is not fetched, and said', async () => {
  using directory = temporary();
  const source = join(directory.path, 'source');
  repository(source, { a: 'a', 'deep/b': 'b' });
  git(source, 'config', 'uploadpack.allowFilter', 'true');
  git(directory.path, 'clone', '-q', '--filter=blob:none', '--no-checkout', `file://${source}`, 'partial');
  const scratchDirectory = join(directory.path, 'scratch');
  mkdirSync(scratchDirectory);
  const workspace = await inspectWorkspace(join(directory.path, 'partial'));
  await assert.rejects(
    stageWorkspace(workspace, { dirty: false, scratchDirectory, account: { uid: 0, gid: 0 } }),
    (error: { tag?: string; fields?: { reason: string } }) =>
      error.tag === 'WorkspaceUnusable' && error.fields?.reason === 'incomplete',
  );
});

describe('inherited surroundings', () => {
  test('variables of git that are set around us change nothing', async () => {
    using directory = temporary();
    const { program, ran } = marker(directory.path);
    const source = join(directory.path, 'source');
    const head = repository(source);
    const variables = {
      GIT_DIR: '/nowhere',
      GIT_WORK_TREE: '/',
      GIT_INDEX_FILE: '/nowhere',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'core.fsmonitor',
      GIT_CONFIG_VALUE_0: program,
      GIT_EXTERNAL_DIFF: program,
      GIT_SSH_COMMAND: program,
      GIT_PAGER: program,
      GIT_OBJECT_DIRECTORY: '/nowhere',
      GIT_NAMESPACE: 'x',
    };
    const before = { ...process.env };
    Object.assign(process.env, variables);
    try {
      const workspace = await inspectWorkspace(source);
      assert.ok(workspace.kind === 'repository');
      assert.equal(workspace.head, head);
    } finally {
      for (const name of Object.keys(variables)) delete process.env[name];
      Object.assign(process.env, before);
    }
    assert.deepEqual(ran(), []);
  });
});
