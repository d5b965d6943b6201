import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ForegroundCommand } from '../../../src/backends/backend.ts';
import { run } from '../../../src/process/run.ts';
import { openTerminal, quoted, type Terminal } from '../../process/tmux.ts';
import { openStage, type Stage } from './stage.ts';

const driver = fileURLToPath(new URL('../../process/foreground-driver.ts', import.meta.url));
const inFront = (command: ForegroundCommand): Promise<Terminal> =>
  openTerminal([process.execPath, driver, JSON.stringify(command)].map(quoted).join(' '));
const watch =
  'trap "stty size" WINCH; trap "echo got-int" INT; stty size; while ! read -t 0.05 end; do :; done; exit 6';

describe('a terminal and a bottle in a machine', { timeout: 300_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await openStage();
  });
  after(async () => {
    await stage[Symbol.asyncDispose]();
  });

  async function behaves(terminal: Terminal) {
    await terminal.shows(/^30 100/m);
    await terminal.tmux('resize-window', '-x', '120', '-y', '40');
    await terminal.shows(/^40 120/m);
    await terminal.type('C-c');
    await terminal.shows(/got-int/);
    await terminal.type('Enter');
    await terminal.shows(/code 6/);
  }

  test('the command has the size, the resizes, Ctrl-C, and its status comes back', async () => {
    await using made = await stage.make({
      terminal: true,
      command: ['bash', '--norc', '-c', watch],
    });
    // As `start` has it: the session is held by one process, and another has the terminal.
    await using terminal = await inFront(stage.another().bottle(made.spec.slug).attach('start'));
    await behaves(terminal);
    assert.equal((await made.bottle.status())?.exitCode, 6);
  });

  test('so has a further program, with the bottle’s secret variables', async () => {
    await using made = await stage.run();
    const front = await made.bottle.foreground(['bash', '--norc', '-c', `echo $GIVEN; ${watch}`], {
      terminal: true,
    });
    assert.ok(!JSON.stringify(front).includes('canary'));
    await using terminal = await inFront(front);
    await terminal.shows(/canary-7d1/);
    await behaves(terminal);
  });

  test('who joins later finds the command as it is, and cannot leave it running by accident', async () => {
    await using made = await stage.run({ terminal: true, command: ['bash', '--norc', '-i'] });
    await using terminal = await inFront(made.bottle.attach('join'));
    await terminal.type('Enter');
    await terminal.shows(/bash-5/);
    await terminal.type('C-p');
    await terminal.type('C-q');
    await terminal.type('C-c');
    await terminal.type('echo al""ive', 'Enter');
    await terminal.shows(/^alive/m);
    await terminal.type('exit 5', 'Enter');
    await terminal.shows(/code 5/);
    assert.equal((await made.bottle.status())?.exitCode, 5);
  });

  test('whose machine goes away under it is whole again', async () => {
    await using made = await stage.make({
      terminal: true,
      command: ['bash', '--norc', '-c', 'printf "\\033[?1049hfull"; sleep 600'],
    });
    await using terminal = await inFront(made.bottle.attach('start'));
    await terminal.shows(/full/);
    await stage.machines.stop(`claude-bottle-${made.spec.slug}`);
    await terminal.shows(/code 137/);
  });

  test('without a terminal, what is piped in arrives with its end, and both streams come out', async () => {
    await using made = await stage.make({ command: ['sh', '-c', 'cat; echo err >&2; exit 8'] });
    const attached = await run(process.execPath, [driver, JSON.stringify(made.bottle.attach('start'))], {
      input: 'piped\n',
    });
    assert.equal(attached.stdout, 'piped\n\ncode 8\n');
    assert.match(attached.stderr, /^err$/m);
    await using other = await stage.run();
    const front = await other.bottle.foreground(['sh', '-c', 'cat; echo err >&2; exit 9'], {
      terminal: false,
    });
    const joined = await run(process.execPath, [driver, JSON.stringify(front)], { input: 'piped\n' });
    assert.equal(joined.stdout, 'piped\n\ncode 9\n');
    assert.match(joined.stderr, /^err$/m);
  });
});
