import { test } from 'node:test';
import { foregroundCases } from '../cases/foreground.ts';
import { inFront } from '../cases/terminal.ts';
import { onStage } from '../stage.ts';
import { openStage } from './stage.ts';

onStage('a terminal and a bottle in a machine', { open: openStage, timeout: 300_000 }, (stage) => {
  for (const [name, holds] of Object.entries(foregroundCases)) {
    test(name, () => holds({ stage: stage(), joined: /code 5/ }));
  }

  test('whose machine goes away under it is whole again', async () => {
    await using made = await stage().make({
      terminal: true,
      command: ['bash', '--norc', '-c', 'printf "\\033[?1049hfull"; sleep 600'],
    });
    await using terminal = await inFront(await made.bottle.attach('start'));
    await terminal.shows(/full/);
    await stage().machines.stop(`claude-bottle-${made.spec.slug}`);
    await terminal.shows(/code 137/);
  });
});
