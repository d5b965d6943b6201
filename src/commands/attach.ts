import { handleOn, knownBottle, onlyRunning } from '../bottles/host.ts';
import { BottleNotRunning } from '../bottles/errors.ts';
import { letGo } from '../backends/backend.ts';
import { runForeground } from '../process/foreground.ts';
import { commandLine, parse } from './command-line.ts';
import { tellEnded } from './tell-ended.ts';
import { openBottles } from './world-bottles.ts';
import type { World } from './world.ts';

/** `claude-bottle attach`: this terminal becomes the terminal of a bottle's command. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = commandLine('attach', world)
    .description(
      `Attaches this terminal to the agent of a bottle. Ctrl-C goes to the agent. ${letGo.key} pressed ${letGo.times} times lets go of it and\nleaves it running, and so does closing the terminal.`,
    )
    .argument('[bottle]', 'its name, as list has it (default: the only one that runs)');
  if (!parse(command, argv)) return 0;
  const places = await openBottles(world);
  const slug = command.args[0];
  const known = slug === undefined ? await onlyRunning(places) : await knownBottle(places, slug);
  const { record } = known;
  if (record.phase !== 'running') throw new BottleNotRunning({ slug: record.slug, state: record.phase });
  const bottle = await handleOn(known, world.signal);
  const { code } = await runForeground(await bottle.attach('join'), { signal: world.signal });
  const status = await bottle.status(world.signal).catch(() => 'unknown' as const);
  // Nobody can tell whether there is an end to wait for.
  if (status === 'unknown') return code;
  if (status?.state === 'running') {
    world.terminal.stderr.write(
      `${record.slug} goes on; claude-bottle attach ${record.slug} comes back to it\n`,
    );
    return 0;
  }
  await tellEnded(known, world);
  return code;
}
