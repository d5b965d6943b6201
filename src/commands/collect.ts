import { ask, handleOn, type KnownBottle, knownBottle, leftoverLock, onlyRunning } from '../bottles/host.ts';
import { BottleNotRunning } from '../bottles/errors.ts';
import { removeRuntime, writeRecord } from '../bottles/record.ts';
import { type Taken, takeFromEnded, type TakeOptions } from '../bottles/take-work.ts';
import { acquireLock } from '../process/lock.ts';
import { Progress } from '../terminal/progress.ts';
import { parseBytes } from '../definitions/size.ts';
import { commandLine, parse } from './command-line.ts';
import { BadValue } from './errors.ts';
import { describeWork } from './ending-view.ts';
import { openBottles } from './world-bottles.ts';
import type { World } from './world.ts';

interface Flags {
  uncommitted: boolean;
  maxSize?: string;
  json: boolean;
}

/** `claude-bottle collect`: takes the work out of a bottle, whether it runs or was kept. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = commandLine('collect', world)
    .description(
      'Takes the commits out of a bottle, as a branch of the repository that they belong to; nothing in the working tree changes.\nA bottle that has ended and was kept is removed once all of its work is out.',
    )
    .argument('[bottle]', 'its name, as list has it (default: the only one that runs)')
    .option('--uncommitted', 'what is not committed comes out too, as one more commit', false)
    .option('--max-size <bytes>', 'take commits of up to this: 500M, 10G (default: 1 GiB)')
    .option('--json', 'one JSON document', false);
  if (!parse(command, argv)) return 0;
  const flags = command.opts<Flags>();
  const take = { uncommitted: flags.uncommitted, ...maxBytesOf(flags) };
  const places = await openBottles(world);
  const slug = command.args[0];
  const known = slug === undefined ? await onlyRunning(places) : await knownBottle(places, slug);
  const progress = new Progress(world.terminal);
  const { work, keptBecause } = await progress.phase(
    { doing: 'taking the work out', done: 'took the work out' },
    async () => {
      switch (known.record.phase) {
        case 'running':
          // Its own supervisor answers.
          return (await ask(known, { do: 'collect', ...take })) as Taken;
        case 'kept': {
          await using _only = await acquireLock(leftoverLock(places, known.record.slug), {
            signal: world.signal,
          });
          return await fromKept(known, take, world);
        }
        case 'making':
        case 'ended':
          throw new BottleNotRunning({ slug: known.record.slug, state: known.record.phase });
      }
    },
  );
  if (flags.json) world.terminal.stdout.write(`${JSON.stringify(work ?? null, undefined, 2)}\n`);
  else if (work !== undefined && known.record.workspace !== undefined) {
    describeWork(work, known.record.workspace, world.terminal);
  }
  if (known.record.phase === 'kept') {
    if (keptBecause === undefined) progress.say(`✓ ${known.record.slug} is gone`);
    else progress.warn(`${known.record.slug} is still kept: ${keptBecause}`);
  }
  return 0;
}

function maxBytesOf({ maxSize }: Flags): { maxBytes?: number } {
  if (maxSize === undefined) return {};
  const maxBytes = parseBytes(maxSize);
  if (maxBytes !== undefined) return { maxBytes };
  const help = 'claude-bottle collect --help';
  throw new BadValue({ what: '--max-size', value: maxSize, expected: 'a size such as 500M or 10G', help });
}

async function fromKept(known: KnownBottle, take: TakeOptions, { signal }: World): Promise<Taken> {
  const { record, places } = known;
  const bottle = await handleOn(known, signal);
  const taken = await takeFromEnded(bottle, known, { ...take, signal });
  if (taken.failure !== undefined) throw taken.failure;
  if (taken.keptBecause !== undefined) return taken;
  await bottle.remove();
  const { keptBecause: _, ...rest } = record;
  await removeRuntime(places);
  await writeRecord(places, {
    ...rest,
    phase: 'ended',
    ...(taken.summary === undefined ? {} : { work: taken.summary }),
  });
  return taken;
}
