import { isSlug } from '../bottles/slug.ts';
import { Engine } from '../engine/engine.ts';
import type { Backend, FoundBottle } from '../backends/backend.ts';
import { type BackendName, backendNames, backendTraits } from '../backends/names.ts';
import { SmolvmMissing } from '../smolvm/errors.ts';
import { findSmolvm } from '../smolvm/find.ts';
import { machineHome } from '../smolvm/machine-home.ts';
import { dockerBackend } from '../backends/docker/backend.ts';
import { handleOn, type KnownBottle, knownBottles } from '../bottles/host.ts';
import { bottlePlaces, type Places } from '../bottles/places.ts';
import { removeRecord } from '../bottles/record.ts';
import { isProvablyDead } from '../process/owner.ts';
import { commandLine, parse } from './command-line.ts';
import { explain } from './failures.ts';
import { version } from '../version.ts';
import { confirm } from './questions.ts';
import { bottlesPlaces, homeOf, openBottles } from './world-bottles.ts';
import { engineCommand, type World } from './world.ts';

interface Finding {
  /** For people: what it is. */
  readonly what: string;
  /** Whether work that is nowhere else goes with it. */
  readonly holdsWork: boolean;
  readonly remove: () => Promise<void>;
}

/** `claude-bottle cleanup`: everything of ours that no bottle needs any more, in one plan with one question. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = commandLine('cleanup', world)
    .description(
      'Removes what no running bottle needs: records and logs of bottles that have ended, bottles that were kept, and containers and machines of\nbottles whose supervisors are dead and whose records are lost. Running bottles stay.',
    )
    .option('--kept', 'also bottles that were kept, with the work in them', false)
    .option('-y, --yes', 'do not ask', false)
    .option('--dry-run', 'tell what would be removed, and stop', false)
    .option('--json', 'one JSON document', false);
  if (!parse(command, argv)) return 0;
  const flags = command.opts<{ kept: boolean; yes: boolean; dryRun: boolean; json: boolean }>();
  const places = await openBottles(world);
  const all = await findings(places, world);
  const chosen = all.filter(({ holdsWork }) => flags.kept || !holdsWork);
  const left = all.length - chosen.length;
  const { stdout, stderr } = world.terminal;
  if (!flags.json) {
    for (const { what } of chosen) stderr.write(`  ${what}\n`);
    if (left > 0)
      stderr.write(`· ${left} kept with work in ${left === 1 ? 'it stays' : 'them stay'} (--kept)\n`);
    if (chosen.length === 0) stderr.write('nothing to remove\n');
  }
  const removes = !flags.dryRun && chosen.length > 0;
  if (removes && !flags.yes) {
    const question = `remove ${chosen.length === 1 ? 'it' : `these ${chosen.length}`}?`;
    if (!(await confirm(question, { flag: '--yes', signal: world.signal }))) return 130;
  }
  let failures = 0;
  const removed: string[] = [];
  if (removes) {
    for (const { what, remove } of chosen) {
      try {
        await remove();
        removed.push(what);
      } catch (error) {
        failures += 1;
        stderr.write(`! ${what}: ${explain(error).what}\n`);
      }
    }
  }
  if (flags.json) {
    stdout.write(`${JSON.stringify({ found: all.map(({ what }) => what), removed }, undefined, 2)}\n`);
  }
  return failures === 0 ? 0 : 4;
}

async function findings(places: Places, world: World): Promise<Finding[]> {
  const known = await knownBottles(places);
  const ended = known.filter(({ record }) => record.phase === 'ended').map(endedFinding);
  const kept = known.filter(({ record }) => record.phase === 'kept').map((one) => keptFinding(one, world));
  return [...ended, ...kept, ...(await strays(known, world))];
}

function endedFinding({ record, places }: KnownBottle): Finding {
  return {
    what: `record and log of ${record.slug}, which has ended`,
    holdsWork: false,
    remove: () => removeRecord(places),
  };
}

function keptFinding(known: KnownBottle, world: World): Finding {
  const { record, places } = known;
  return {
    what: `bottle ${record.slug}, kept: ${record.keptBecause ?? 'its work is in it'}`,
    holdsWork: true,
    async remove() {
      await (await handleOn(known, world.signal)).remove();
      await removeRecord(places);
    },
  };
}

/** Bottles that nobody has a record of, and whose makers are dead. */
async function strays(known: readonly KnownBottle[], world: World): Promise<Finding[]> {
  const recorded = new Set(known.map(({ record }) => record.slug));
  const found: Finding[] = [];
  for (const name of backendNames) {
    const there = await bottlesIn(name, world);
    for (const { slug, owner } of there?.bottles ?? []) {
      // A label may come from an image too, and what is no slug is no name of a bottle.
      if (!isSlug(slug) || recorded.has(slug) || !(await isProvablyDead(owner))) continue;
      found.push({
        what: `${backendTraits[name].thing} of ${slug}, whose record is lost`,
        holdsWork: false,
        remove: async () => there?.backend.bottle(slug).remove(),
      });
    }
  }
  return found;
}

/** `undefined`: the backend cannot be asked, which is said where it may have bottles nevertheless. */
async function bottlesIn(
  name: BackendName,
  world: World,
): Promise<{ readonly backend: Backend; readonly bottles: readonly FoundBottle[] } | undefined> {
  const { signal, terminal } = world;
  try {
    const backend = await (name === 'smolmachines' ? machinesOf(world) : containersOf(world));
    return { backend, bottles: await backend.find(signal) };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SmolvmMissing) return undefined;
    const who = name === 'smolmachines' ? 'smolvm' : 'the engine';
    terminal.stderr.write(`! ${who} was not asked: ${explain(error).what}\n`);
    return undefined;
  }
}

async function containersOf({ environment, signal }: World): Promise<Backend> {
  return dockerBackend(await Engine.connect({ command: engineCommand(environment), signal }), {
    version: version(),
  });
}

/** What cannot boot a machine any more can still remove one. */
async function machinesOf(world: World): Promise<Backend> {
  const { environment, signal } = world;
  const smolvm = await findSmolvm(environment, { signal });
  const home = await machineHome(environment, homeOf(environment), process.geteuid?.() ?? 0);
  const { machinesBackend } = await import('../backends/smolmachines/open.ts');
  const places = bottlesPlaces(world);
  return machinesBackend(smolvm, home, (slug) => bottlePlaces(places, slug));
}
