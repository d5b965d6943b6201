import { fileURLToPath } from 'node:url';
import type { ForegroundCommand } from '../../../src/backends/backend.ts';
import { openTerminal, quoted, type Terminal } from '../../process/tmux.ts';

/** Runs what it is given in front, and prints `code N` after it. */
export const driver = fileURLToPath(new URL('../../process/foreground-driver.ts', import.meta.url));

export function inFront(command: ForegroundCommand): Promise<Terminal> {
  return openTerminal([process.execPath, driver, JSON.stringify(command)].map(quoted).join(' '));
}

/**
 * For bash: tells the size of its terminal, every other size that it gets, and Ctrl-C, until Enter; then ends with 6. It
 * only looks whether something is there: a `read` whose time is up loses what just came, three times in a hundred.
 */
export const watch =
  'trap "stty size" WINCH; trap "echo got-int" INT; stty size; until read -t 0; do sleep 0.05; done; exit 6';

/** That a terminal with `watch` on it hands on its size, its resizes and its keys, and gets its status back. */
export async function watches(terminal: Terminal): Promise<void> {
  await terminal.shows(/^30 100/m);
  await terminal.tmux('resize-window', '-x', '120', '-y', '40');
  await terminal.shows(/^40 120/m);
  await terminal.type('C-c');
  await terminal.shows(/got-int/);
  await terminal.type('Enter');
  await terminal.shows(/code 6/);
}
