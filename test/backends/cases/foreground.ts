import assert from 'node:assert/strict';
import { run } from '../../../src/process/run.ts';
import { given, type Stage } from '../stage.ts';
import type { Cases } from './case.ts';
import { driver, inFront, watch, watches } from './terminal.ts';

interface Given {
  readonly stage: Stage;
  /** What is seen of a command that ended with 5 by whoever joined it. */
  readonly joined: RegExp;
}

export const foregroundCases: Cases<Given> = {
  'the command has the size, the resizes, Ctrl-C, and its status comes back': async ({ stage }) => {
    await using made = await stage.make({ terminal: true, command: ['bash', '--norc', '-c', watch] });
    // As `start` has it: the bottle is held by one process, and another has the terminal.
    await using terminal = await inFront(await stage.another().bottle(made.spec.slug).attach('start'));
    await watches(terminal);
    assert.equal((await made.bottle.status())?.exitCode, 6);
  },

  'so has a further program, with the bottle’s secret variables': async ({ stage }) => {
    await using made = await stage.run();
    const front = await made.bottle.foreground(['bash', '--norc', '-c', `echo $GIVEN; ${watch}`], {
      terminal: true,
    });
    assert.ok(!JSON.stringify(front).includes(given));
    await using terminal = await inFront(front);
    await terminal.shows(new RegExp(given));
    await watches(terminal);
  },

  'who joins later finds the command as it is, and cannot leave it running by accident': async ({
    stage,
    joined,
  }) => {
    await using made = await stage.run({ terminal: true, command: ['bash', '--norc', '-i'] });
    await using terminal = await inFront(await made.bottle.attach('join'));
    await terminal.type('Enter');
    await terminal.shows(/bash-5/);
    await terminal.type('C-p');
    await terminal.type('C-q');
    await terminal.type('C-c');
    await terminal.type('echo al""ive', 'Enter');
    await terminal.shows(/^alive/m);
    await terminal.type('exit 5', 'Enter');
    await terminal.shows(joined);
    assert.equal((await made.bottle.status())?.exitCode, 5);
  },

  'without a terminal, what is piped in arrives with its end, and both streams come out': async ({
    stage,
  }) => {
    const script = 'cat; echo err >&2; exit 8';
    await using made = await stage.make({ command: ['sh', '-c', script] });
    await using other = await stage.run();
    const further = await other.bottle.foreground(['sh', '-c', script], { terminal: false });
    for (const front of [await made.bottle.attach('start'), further]) {
      const { stdout, stderr } = await run(process.execPath, [driver, JSON.stringify(front)], {
        input: 'piped\n',
      });
      assert.equal(stdout, 'piped\n\ncode 8\n');
      assert.match(stderr, /^err$/m);
    }
  },
};
