import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { printMessage } from '../../src/terminal/message.ts';
import { Progress } from '../../src/terminal/progress.ts';
import { renderTable } from '../../src/terminal/table.ts';
import { openTerminal, withoutControls } from '../../src/terminal/terminal.ts';
import { recordingTerminal } from './recorder.ts';

const names = { doing: 'building the image', done: 'built the image' };

test('without a terminal a phase is one plain line at its end', async () => {
  const terminal = recordingTerminal();
  const progress = new Progress(terminal, clock(0, 12_340));
  assert.equal(await progress.phase(names, () => Promise.resolve(7)), 7);
  assert.equal(terminal.said(), '✓ built the image  12.3 s\n');
  assert.deepEqual(progress.timings, [{ phase: 'built the image', ms: 12_340 }]);
});

test('a phase of half a second or less has no figure', async () => {
  const terminal = recordingTerminal();
  await new Progress(terminal, clock(0, 500)).phase(names, () => Promise.resolve());
  assert.equal(terminal.said(), '✓ built the image\n');
});

test('a phase that fails says so, and the error goes on', async () => {
  const terminal = recordingTerminal();
  const failing = new Progress(terminal, clock(0, 1)).phase(names, () => Promise.reject(new Error('no')));
  await assert.rejects(failing, /no/);
  assert.equal(terminal.said(), '✗ building the image\n');
});

test('on a terminal a line is redrawn within its width and ends clean', async () => {
  const terminal = recordingTerminal({ animated: true, columns: 40 });
  await new Progress(terminal).phase(names, async (update) => {
    update({ bytes: 350e6, totalBytes: 700e6, note: 'a rather long note that cannot fit\u001b[2J' });
    await sleep(250);
  });
  const drawn = terminal.said().split('\r\u001b[2K');
  assert.ok(drawn.length >= 4, 'redrawn several times');
  for (const line of drawn.slice(0, -1)) assert.ok([...line].length <= 39, line);
  assert.ok(drawn.some((line) => line.includes('350 MB of 700 MB')));
  assert.ok(!terminal.said().includes('\u001b[2J'), 'a note cannot clear the screen');
  assert.match(drawn.at(-1) ?? '', /^✓ built the image {2}350 MB\n$/);
});

test('colours and animation follow NO_COLOR, TERM and CI', () => {
  const { isTTY } = process.stderr;
  try {
    process.stderr.isTTY = true;
    const seen = (environment: Record<string, string>) => {
      const { animated, colored } = openTerminal(environment);
      return { animated, colored };
    };
    assert.deepEqual(seen({ TERM: 'xterm' }), { animated: true, colored: true });
    assert.deepEqual(seen({ TERM: 'xterm', NO_COLOR: '1' }), { animated: true, colored: false });
    assert.deepEqual(seen({ TERM: 'xterm', NO_COLOR: '' }), { animated: true, colored: true });
    assert.deepEqual(seen({ TERM: 'xterm', CI: 'true' }), { animated: false, colored: true });
    assert.deepEqual(seen({ TERM: 'dumb' }), { animated: false, colored: false });
  } finally {
    process.stderr.isTTY = isTTY;
  }
});

test('text from outside cannot steer the terminal', () => {
  assert.equal(withoutControls('a\u001b[31mred\u001b[0m\u001b]0;title\u0007b'), 'aredb');
  assert.equal(withoutControls('one\ntwo\tthree'), 'one\ntwo\tthree');
  assert.equal(withoutControls('bell\u0007 back\b'), 'bell\ufffd back\ufffd');
});

test('a message says what, why and what to do, a line each', () => {
  const terminal = recordingTerminal();
  printMessage(terminal, { what: 'it broke', why: 'line one\n\nline two', hint: 'do this', exitCode: 4 });
  assert.equal(terminal.said(), 'error: it broke\n  line one\n  line two\n→ do this\n');
});

test('a table lines up and has no trailing spaces', () => {
  const table = renderTable(
    ['KEY', 'SIZE'],
    [
      ['a', '1 B'],
      ['long', '100 MB'],
    ],
    ['left', 'right'],
  );
  assert.equal(table, 'KEY     SIZE\na        1 B\nlong  100 MB\n');
});

/** A clock that shows these times, one a look. */
function clock(...times: number[]): () => number {
  let last = 0;
  return () => (last = times.shift() ?? last);
}
