import { ask, handleOn, type KnownBottle, knownBottle, knownBottles } from '../bottles/host.ts';
import { removeRecord } from '../bottles/record.ts';
import { parseDuration } from '../terminal/units.ts';
import { BadUsage, commandLine, parse } from './command-line.ts';
import { BadValue } from './errors.ts';
import { confirm } from './questions.ts';
import { tellEnded } from './tell-ended.ts';
import { openBottles } from './world-bottles.ts';
import type { World } from './world.ts';

interface Flags {
  all: boolean;
  grace: string;
  discard: boolean;
  yes: boolean;
}

/** `claude-bottle stop`: the orderly end of bottles, with their work as branches. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = commandLine('stop', world)
    .description(
      'Ends bottles: the agent gets SIGTERM, then SIGKILL; its commits come out as a branch. A bottle with changes that are not\ncommitted is kept (see collect), unless --discard gives them up.',
    )
    .argument('[bottle...]', 'names, as list has them')
    .option('--all', 'every bottle that runs', false)
    .option('--grace <time>', 'between SIGTERM and SIGKILL', '10s')
    .option('--discard', 'give up what is in it: no branch, nothing kept', false)
    .option('-y, --yes', 'do not ask before giving something up', false);
  if (!parse(command, argv)) return 0;
  const flags = command.opts<Flags>();
  const graceMs = parseDuration(flags.grace);
  if (graceMs === undefined) {
    const help = 'claude-bottle stop --help';
    throw new BadValue({ what: '--grace', value: flags.grace, expected: 'a time such as 10s or 2m', help });
  }
  if (flags.all === command.args.length > 0) {
    throw new BadUsage({ problem: 'name the bottles, or say --all', hint: 'claude-bottle list' });
  }
  const places = await openBottles(world);
  const chosen = flags.all
    ? (await knownBottles(places)).filter(({ record }) => record.phase !== 'ended')
    : await Promise.all(command.args.map((slug) => knownBottle(places, slug)));
  const givesUp = flags.discard && !flags.yes && chosen.length > 0;
  if (
    givesUp &&
    !(await confirm(`give up the work in ${names(chosen)}?`, { flag: '--yes', signal: world.signal }))
  ) {
    return 130;
  }
  await Promise.all(chosen.map((bottle) => end(bottle, { graceMs, discard: flags.discard }, world)));
  return 0;
}

function names(bottles: readonly KnownBottle[]): string {
  return bottles.map(({ record }) => record.slug).join(', ');
}

async function end(
  known: KnownBottle,
  stop: { readonly graceMs: number; readonly discard: boolean },
  world: World,
): Promise<void> {
  const { record, places } = known;
  const { stderr } = world.terminal;
  if (record.phase === 'ended') {
    stderr.write(`· ${record.slug} has ended already\n`);
    return;
  }
  if (record.phase === 'kept') {
    if (!stop.discard) {
      stderr.write(`! ${record.slug} has ended and is kept: ${record.keptBecause ?? 'its work is in it'}\n`);
      return;
    }
    await (await handleOn(known, world.signal)).remove();
    await removeRecord(places);
    stderr.write(`✓ ${record.slug} is gone\n`);
    return;
  }
  await ask(known, { do: 'stop', ...stop });
  await tellEnded(known, world);
}
