import { BottleNotRunning } from '../bottles/errors.ts';
import { handleOn, type KnownBottle, knownBottle, onlyRunning } from '../bottles/host.ts';
import { readAudit } from '../gate/audit-reader.ts';
import { describeRecord } from '../gate/audit-words.ts';
import { paint, withoutControls } from '../terminal/terminal.ts';
import { writeAtPace } from '../terminal/write.ts';
import { BadUsage, commandLine, parse } from './command-line.ts';
import { BadValue } from './errors.ts';
import { openBottles } from './world-bottles.ts';
import type { World } from './world.ts';

interface Flags {
  gate: boolean;
  follow: boolean;
  tail?: string;
  json: boolean;
}

/** `claude-bottle logs`: what the agent printed, or what its gate decided. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = commandLine('logs', world)
    .description('Shows what the agent of a bottle printed, or with --gate what its gate decided.')
    .argument('[bottle]', 'its name, as list has it (default: the only one that runs)')
    .option('--gate', 'the decisions of the gate; also of a bottle that has ended', false)
    .option('-f, --follow', 'go on with what comes', false)
    .option('--tail <lines>', 'only the last lines')
    .option('--json', 'with --gate: JSON lines', false);
  if (!parse(command, argv)) return 0;
  const flags = command.opts<Flags>();
  const tail = flags.tail === undefined ? undefined : Number(flags.tail);
  if (tail !== undefined && !(Number.isInteger(tail) && tail >= 0)) {
    const help = 'claude-bottle logs --help';
    throw new BadValue({ what: '--tail', value: flags.tail ?? '', expected: 'a number of lines', help });
  }
  if (flags.json && !flags.gate) {
    throw new BadUsage({ problem: '--json goes with --gate', hint: 'claude-bottle logs --help' });
  }
  const places = await openBottles(world);
  const slug = command.args[0];
  const known = slug === undefined ? await onlyRunning(places) : await knownBottle(places, slug);
  await (flags.gate ? showGate(known, flags, tail, world) : showOutput(known, flags, tail, world));
  return 0;
}

async function showGate(
  { places }: KnownBottle,
  { follow, json }: Flags,
  tail: number | undefined,
  { terminal, signal }: World,
): Promise<void> {
  const last: string[] = [];
  const line = (text: string, refused: boolean) => (refused ? paint(terminal, 'yellow', text) : text);
  for await (const record of readAudit(places.gateLog, { follow, signal })) {
    const text = json ? JSON.stringify(record) : line(describeRecord(record), record.decision !== 'allow');
    if (tail === undefined || follow) await writeAtPace(terminal.stdout, `${text}\n`, signal);
    else {
      last.push(text);
      if (last.length > tail) last.shift();
    }
  }
  for (const text of last) await writeAtPace(terminal.stdout, `${text}\n`, signal);
}

/** On a terminal without what could move its cursor or set its title; into a pipe as it was. */
async function showOutput(
  known: KnownBottle,
  { follow }: Flags,
  tail: number | undefined,
  { terminal, signal }: World,
): Promise<void> {
  const { record } = known;
  if (record.phase === 'ended') throw new BottleNotRunning({ slug: record.slug, state: 'ended' });
  const bottle = await handleOn(known, signal);
  await using log = bottle.logs({ follow, signal, ...(tail === undefined ? {} : { tail }) });
  const safe = process.stdout.isTTY;
  if (safe) log.stdout.setEncoding('utf8');
  for await (const chunk of log.stdout as AsyncIterable<string | Buffer>) {
    const piece = typeof chunk === 'string' ? withoutControls(chunk.replaceAll('\r\n', '\n')) : chunk;
    await writeAtPace(terminal.stdout, piece, signal);
  }
  const { code, stderr } = await log.done;
  if (code !== 0 && stderr !== '') terminal.stderr.write(withoutControls(stderr));
}
