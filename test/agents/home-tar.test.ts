import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { buffer } from 'node:stream/consumers';
import { homeTar } from '../../src/agents/home-tar.ts';

test('every file and each directory on its way comes once, owned by the user, as tar itself reads it', async () => {
  const files = [
    { path: '.claude.json', mode: 0o600, content: '{}' },
    { path: '.claude/skills/sing/SKILL.md', mode: 0o644, content: 'Sing.\n' },
    { path: '.claude/skills/sing/ümlaut.sh', mode: 0o755, content: Buffer.from([0, 255, 10]) },
  ];
  const tar = await buffer(homeTar(files, { uid: 1234, gid: 5678 }, new Date(86_400_000)));
  const list = execFileSync('tar', ['--numeric-owner', '--quoting-style=literal', '--utc', '-tvf', '-'], {
    input: tar,
    encoding: 'utf8',
  });
  assert.deepEqual(
    list
      .trim()
      .split('\n')
      .map((line) => line.replace(/\s+/g, ' ')),
    [
      '-rw------- 1234/5678 2 1970-01-02 00:00 .claude.json',
      'drwxr-xr-x 1234/5678 0 1970-01-02 00:00 .claude/',
      'drwxr-xr-x 1234/5678 0 1970-01-02 00:00 .claude/skills/',
      'drwxr-xr-x 1234/5678 0 1970-01-02 00:00 .claude/skills/sing/',
      '-rw-r--r-- 1234/5678 6 1970-01-02 00:00 .claude/skills/sing/SKILL.md',
      '-rwxr-xr-x 1234/5678 3 1970-01-02 00:00 .claude/skills/sing/ümlaut.sh',
    ],
  );
  const content = execFileSync('tar', ['-xOf', '-', '.claude/skills/sing/ümlaut.sh'], { input: tar });
  assert.deepEqual([...content], [0, 255, 10]);
});
