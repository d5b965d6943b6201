import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostExecutions } from '../../src/workspace/host-executes.ts';
import { printable, printablePath } from '../../src/workspace/printable.ts';

const tierOf = (path: string) => hostExecutions([path])[0]?.tier;

test('what runs by itself is told from what somebody has to start', () => {
  for (const path of [
    '.husky/pre-commit',
    '.githooks/pre-push',
    '.pre-commit-config.yaml',
    'lefthook.yml',
    '.envrc',
    'deep/.envrc',
    '.vscode/settings.json',
    'x.code-workspace',
    '.claude/settings.json',
    '.mcp.json',
    'CLAUDE.md',
    '.dir-locals.el',
    '.ENVRC',
  ])
    assert.equal(tierOf(path), 1, path);
  for (const path of [
    '.gitattributes',
    '.gitmodules',
    '.github/workflows/ci.yml',
    '.gitlab-ci.yml',
    'Makefile',
    'sub/GNUmakefile',
    'rules.mk',
    'package.json',
    'web/package.json',
    '.npmrc',
    '.idea/workspace.xml',
    '.devcontainer/devcontainer.json',
    'pyproject.toml',
    'setup.py',
    'conftest.py',
    'Dockerfile',
    'Dockerfile.dev',
    'app.dockerfile',
    'docker-compose.override.yml',
    'build.gradle.kts',
    'gradlew',
    'gradle/wrapper/gradle-wrapper.jar',
    'build.rs',
    '.cargo/config.toml',
    'Cargo.toml',
    'vite.config.ts',
    'CMakeLists.txt',
    'Jenkinsfile',
    'flake.nix',
    'main.tf',
    'install.sh',
  ])
    assert.equal(tierOf(path), 2, path);
});

test('what only looks like it is not listed', () => {
  for (const path of [
    'README.md',
    'src/main.ts',
    'src/makefile_parser.py',
    'docs/husky/notes.txt',
    'vscode/tasks.json',
    'package.json.md',
    'notpackage.json',
    'xenvrc',
  ])
    assert.equal(tierOf(path), undefined, path);
});

test('the first tier comes first, each path once, and safe to print', () => {
  const found = hostExecutions(['Makefile', 'a\u001b[2J/.envrc', 'plain', '.husky/x']);
  assert.deepEqual(
    found.map(({ path, tier }) => [tier, path]),
    [
      [1, 'a\\x1b[2J/.envrc'],
      [1, '.husky/x'],
      [2, 'Makefile'],
    ],
  );
  assert.ok(found.every(({ reason }) => reason !== ''));
});

test('printable text holds nothing that controls a terminal or reorders a line', () => {
  assert.equal(
    printable('a\u001b]0;x\u0007\r\n\u202e\u2066\u200b\u2028b\u009b'),
    'a\\x1b]0;x\\x07\\x0d\\x0a\\u{202e}\\u{2066}\\u{200b}\\u{2028}b\\x9b',
  );
  assert.equal(printable('ünï 漢字 🙂'), 'ünï 漢字 🙂');
  assert.equal(printable('x'.repeat(1000), 10), `${'x'.repeat(10)}…`);
  assert.equal(printablePath('\xc3\xbc'), 'ü');
  assert.equal(printablePath('a\xff\n'), 'a\\xff\\x0a');
});
