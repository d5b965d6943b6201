import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import { runForeground } from '../../src/process/foreground.ts';
import { run } from '../../src/process/run.ts';
import { openTerminal, quoted } from './tmux.ts';

const driver = fileURLToPath(new URL('foreground-driver.ts', import.meta.url));
const inFront = (script: string) => {
  const program = JSON.stringify({ command: 'bash', args: ['--norc', '-c', script], env: {} });
  return [process.execPath, driver, program].map(quoted).join(' ');
};

describe('a program in front', { timeout: 120_000 }, () => {
  test('has our streams, and its status is told', async () => {
    const program = {
      command: 'sh',
      args: ['-c', 'cat; echo "$GIVEN" >&2; exit 7'],
      env: { GIVEN: 'given' },
    };
    const result = await run(process.execPath, [driver, JSON.stringify(program)], { input: 'in\n' });
    assert.equal(result.stdout, 'in\n\ncode 7\n');
    assert.equal(result.stderr, 'given\n');
    const killed = { ...program, args: ['-c', 'kill -KILL $$'] };
    assert.match((await run(process.execPath, [driver, JSON.stringify(killed)])).stdout, /code 137/);
    await assert.rejects(runForeground({ command: '/no/such', args: [], env: {} }), {
      name: 'CommandMissing',
    });
  });

  test('gets the keys’ signals alone', async () => {
    await using terminal = await openTerminal(
      inFront(
        'trap "echo got-int" INT; trap "echo got-quit" QUIT; echo ready; until read -t 0; do sleep 0.1; done; exit 3',
      ),
    );
    await terminal.shows(/ready/);
    await terminal.type('C-c');
    await terminal.shows(/got-int/);
    await terminal.type('C-\\');
    await terminal.shows(/got-quit/);
    await terminal.type('Enter');
    await terminal.shows(/code 3/);
  });

  test('that was killed leaves the terminal as it was', async () => {
    const vandal = String.raw`printf '\033[?1049h\033[?25l\033[?1003h'; stty raw -echo; kill -KILL $$`;
    await using terminal = await openTerminal(
      `echo shown-before; stty -g >/dev/null; before=$(stty -g); ${inFront(vandal)}; [ "$(stty -g)" = "$before" ] && echo same-modes`,
    );
    await terminal.shows(/code 137\s+same-modes/);
    // The alternate screen is left, the cursor is there, and nobody reports the mouse.
    await terminal.shows(/shown-before/);
    const { stdout } = await terminal.tmux(
      'display-message',
      '-p',
      '#{alternate_on} #{cursor_flag} #{mouse_any_flag}',
    );
    assert.equal(stdout.trim(), '0 1 0');
  });

  test('is passed what ends us', async () => {
    await using terminal = await openTerminal(
      inFront('trap "echo got-term; exit 4" TERM; echo us $PPID; while :; do sleep 0.1; done'),
    );
    const [, pid] = await terminal.shows(/us (\d+)/);
    process.kill(Number(pid), 'SIGTERM');
    await terminal.shows(/got-term\s+code 4/);
  });

  test('ends on our signal', async () => {
    const interrupt = new AbortController();
    setTimeout(() => interrupt.abort(new Error('enough')), 100);
    const program = { command: 'sleep', args: ['600'], env: {} };
    await assert.rejects(runForeground(program, { signal: interrupt.signal }), /enough/);
  });
});
