import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { commandNames } from '../../src/commands/names.ts';
import { run } from '../../src/process/run.ts';

const program = fileURLToPath(new URL('../../bin/claude-bottle', import.meta.url));

test('bash completes the names of commands from what the program prints', async () => {
  const { code, stdout: script } = await run(program, ['completion', 'bash']);
  assert.equal(code, 0);
  const asks = `${script}
for word in '' st; do COMP_WORDS=(claude-bottle "$word"); COMP_CWORD=1; _claude_bottle; echo "\${COMPREPLY[*]}"; done`;
  const { stdout, stderr } = await run('bash', ['-euc', asks]);
  assert.equal(stderr, '');
  const [all, some] = stdout.split('\n');
  assert.equal(all, commandNames.join(' '));
  assert.equal(some, commandNames.filter((name) => name.startsWith('st')).join(' '));
});

test('bash completes the names of backends where one is asked for', async () => {
  const { stdout: script } = await run(program, ['completion', 'bash']);
  const asks = `${script}
COMP_WORDS=(claude-bottle start --backend sm); COMP_CWORD=3; _claude_bottle; echo "\${COMPREPLY[*]}"`;
  const { stdout, stderr } = await run('bash', ['-euc', asks]);
  assert.deepEqual([stdout, stderr], ['smolmachines\n', '']);
});

test('another shell is refused with those that are known', async () => {
  const { code, stderr } = await run(program, ['completion', 'tcsh']);
  assert.equal(code, 2);
  assert.match(stderr, /bash, zsh, fish/);
});
