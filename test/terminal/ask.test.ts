import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';

// Asked at a real terminal, that of script(1).

const asker = new URL('./asker.ts', import.meta.url).pathname;

/** Asks for a secret, then for a line, between two looks at the terminal's state. Types the keys when the question is there. */
async function secret(
  keys: string,
): Promise<{ shown: string; got: string; restored: boolean; code: number | null }> {
  const line = `stty -a; '${process.execPath}' '${asker}'; echo "code=$?"; stty -a`;
  const child = spawn('script', ['-qfec', line, '/dev/null'], {
    env: { ...process.env, SHELL: '/bin/sh' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let shown = '';
  let typed = false;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
    if (typed || !shown.includes('Secret: ')) return;
    typed = true;
    child.stdin.write(keys);
  });
  await new Promise((resolve) => child.once('close', resolve));
  const states = [...shown.matchAll(/^(speed[^]*?-?echoke.*?)\r?$/gm)].map(([, state]) => state);
  assert.equal(states.length, 2, shown);
  return {
    shown: shown.replace(/got=.*/g, ''),
    got: /got=(.*?)\r?\n/.exec(shown)?.[1] ?? '',
    restored: states[0] === states[1],
    code: Number(/code=(\d+)/.exec(shown)?.[1]),
  };
}

test('a secret is not shown, and the terminal is as before', async () => {
  const { shown, got, restored, code } = await secret('s3cret pass\rnext\r');
  assert.equal(got, JSON.stringify(['s3cret pass', 'next']));
  assert.ok(!shown.includes('s3cret'), shown);
  assert.deepEqual([restored, code], [true, 0]);
});

test('it can be corrected, also what is not ASCII, and arrows are no part of it', async () => {
  const { got } = await secret('wrong\x15aäx€\x7f\x7f\x1b[Ab\rn\r');
  assert.equal(got, JSON.stringify(['aäb', 'n']));
});

for (const [name, key] of [
  ['Ctrl-C', '\x03'],
  ['Ctrl-D', '\x04'],
] as const) {
  test(`${name} ends it, and the terminal is as before`, async () => {
    const { shown, got, restored, code } = await secret(`hidden7${name === 'Ctrl-D' ? '\x15' : ''}${key}`);
    assert.deepEqual([got, restored, code], ['"AnswerMissing"', true, 9]);
    assert.ok(!shown.includes('hidden7'));
  });
}
