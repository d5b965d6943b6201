import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Terminal, openTerminal, quoted } from '../process/tmux.ts';
import { Cage, onEvery } from './cage.ts';

/** A title, the other screen, and, in two pieces, a hidden cursor. */
const obeyed = String.raw`printf '\033]0;owned\007\033[?1049h\033'; sleep 0.3; printf '[?25l'; echo; echo end of it`;
/** The clipboard, answers that are typed for whoever reads, a cleared screen, 8-bit controls, text from right to left. */
const more = String.raw`printf '\033]52;c;b3duZWQ=\007\033[6n\033[c\033[2J\033[H\302\2332J\342\200\256'`;

async function state(terminal: Terminal): Promise<string> {
  const format = '#{pane_title} #{alternate_on} #{cursor_flag}';
  return (await terminal.tmux('display-message', '-p', format)).stdout.trim();
}

onEvery('hostile words', (candidate) => {
  test('what an agent prints moves nothing on the terminal of who reads its log', async (t) => {
    // Shows that the terminal would obey.
    await using bare = await openTerminal(`printf 'first\\n'; sh -c ${quoted(obeyed)}`);
    await bare.shows(/end of it/);
    assert.equal(await state(bare), 'owned 1 0');

    await using cage = await Cage.start(candidate, [], {
      command: ['sh', '-c', `${more}; ${obeyed}; sleep 300`],
    });
    await using terminal = await openTerminal(
      `echo first; ${cage.house.line(['logs', '--follow', cage.slug])}`,
    );
    const before = await state(terminal);
    await terminal.shows(/first[^]*end of it/);
    assert.equal(await state(terminal), before);
    assert.doesNotMatch(before, /owned/);
    t.diagnostic(
      'tried: a title, the clipboard, the other screen, typed answers, a cleared screen, a hidden cursor; stopped by: logs, which lets none through to a terminal',
    );
  });
});
