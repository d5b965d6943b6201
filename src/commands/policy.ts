import { ask, type KnownBottle, knownBottle, onlyRunning } from '../bottles/host.ts';
import type { PolicyAnswer } from '../bottles/messages.ts';
import type { Places } from '../bottles/places.ts';
import { isSlug } from '../bottles/slug.ts';
import { saveRule } from '../definitions/save-rule.ts';
import { addressKinds } from '../gate/address.ts';
import { BadUsage, commandLine, parse } from './command-line.ts';
import { BadValue } from './errors.ts';
import { homeOf, openBottles } from './world-bottles.ts';
import type { World } from './world.ts';

interface Flags {
  save: boolean;
  iKnow: boolean;
  reach: string[];
  json: boolean;
}

const words = {
  allow: {
    description:
      'Lets a running bottle reach a host, from now on. A rule of a definition or a preset that denies it still wins.',
    broad: 'a rule that opens the gate to names anybody can get is meant',
  },
  deny: {
    description:
      'Refuses a running bottle a host, from now on, and cuts what is under way to it. A rule that denies always wins.',
    broad: 'accepted, and needs not be said: refusing is free',
  },
} as const;

/** `claude-bottle allow` and `deny`: change the policy of a bottle while it runs. */
export async function changePolicy(
  action: 'allow' | 'deny',
  argv: readonly string[],
  world: World,
): Promise<number> {
  const command = commandLine(action, world)
    .description(words[action].description)
    .usage('[options] [bottle] <host...>')
    .argument(
      '<host...>',
      'host, host:port, host:*, *.host (one label), **.host (any depth), or an address; before them a bottle, as list has it (default: the only one that runs)',
    )
    .option('--save', 'also write it to the bottle’s definition, for the next time', false)
    .option('--i-know', words[action].broad, false)
    .option(
      '--reach <kind>',
      `addresses beside public ones that the name may lead to: ${addressKinds.join(', ')}; may be repeated`,
      (value: string, previous: string[]) => [...previous, value],
      [],
    )
    .option('--json', 'JSON lines, one for each rule', false);
  if (!parse(command, argv)) return 0;
  const flags = command.opts<Flags>();
  const stray = flags.reach.find((kind) => !addressKinds.some((known) => known === kind));
  if (stray !== undefined) {
    const help = `claude-bottle ${action} --help`;
    throw new BadValue({
      what: '--reach',
      value: stray,
      expected: `one of ${addressKinds.join(', ')}`,
      help,
    });
  }
  const places = await openBottles(world);
  const { known, hosts } = await bottleAndHosts(places, command.args);
  const { record } = known;
  if (flags.save && record.bottles.length === 0) {
    throw new BadUsage({
      problem: `${record.slug} runs without a bottle file, so there is nothing to save to`,
      hint: 'claude-bottle init',
    });
  }
  for (const text of hosts) {
    const rule = { text, iKnow: flags.iKnow, reach: flags.reach };
    // Its own supervisor answers.
    const answer = (await ask(known, { do: action, rule })) as PolicyAnswer;
    if (flags.json) world.terminal.stdout.write(`${JSON.stringify({ slug: record.slug, ...answer })}\n`);
    else world.terminal.stderr.write(tell(record.slug, answer));
    if (flags.save) {
      const path = await saveRule(homeOf(world.environment), record.bottles, {
        action,
        text,
        reach: flags.reach,
      });
      world.terminal.stderr.write(`· saved in ${path}\n`);
    }
  }
  return 0;
}

/** The first word may name the bottle; a host that is called like one can be written with its port. */
async function bottleAndHosts(
  places: Places,
  words: readonly string[],
): Promise<{ readonly known: KnownBottle; readonly hosts: readonly string[] }> {
  const [first = '', ...rest] = words;
  if (!isSlug(first)) return { known: await onlyRunning(places), hosts: words };
  if (rest.length === 0) {
    throw new BadUsage({ problem: `no host is named for ${first}`, hint: 'claude-bottle allow --help' });
  }
  return { known: await knownBottle(places, first), hosts: rest };
}

function tell(slug: string, { rule, overruledBy, cut }: PolicyAnswer): string {
  const cuts = cut === 0 ? '' : `; ${cut} under way ${cut === 1 ? 'was' : 'were'} cut`;
  const overruled = overruledBy === undefined ? '' : `! it changes nothing: ${overruledBy} wins\n`;
  return `✓ ${slug}: ${rule}${cuts}\n${overruled}`;
}
