import { isSupervised, ask, handleOn, type KnownBottle, knownBottles } from '../bottles/host.ts';
import type { StatusAnswer } from '../bottles/messages.ts';
import { renderTable } from '../terminal/table.ts';
import { formatAge } from '../terminal/units.ts';
import { commandLine, parse } from './command-line.ts';
import { openBottles } from './world-bottles.ts';
import type { World } from './world.ts';

/** One bottle, as `list --json` has it. */
interface Row {
  readonly slug: string;
  readonly agent: string;
  readonly backend: string;
  /** `waiting`: its command has a terminal and has printed nothing for a while. */
  readonly status: 'making' | 'running' | 'waiting' | 'exited' | 'ended';
  readonly since: string;
  readonly image: string;
  readonly egress?: { readonly allowed: number; readonly denied: number; readonly failed: number };
  readonly exitCode?: number;
  readonly branch?: string;
  readonly note?: string;
}

/** An agent that works shows it; one that waits for its user is silent. */
const silentMs = 10_000;

/** `claude-bottle list`. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = commandLine('list', world)
    .description(
      'Lists the bottles of this host. waiting: the agent has printed nothing for 10 s, so it may want an answer.\nexited: it has ended, and work that is nowhere else is still in it.',
    )
    .option('--all', 'also those that have ended, as far as they are remembered', false)
    .option('--json', 'one JSON document', false);
  if (!parse(command, argv)) return 0;
  const flags = command.opts<{ all: boolean; json: boolean }>();
  const places = await openBottles(world);
  const known = (await knownBottles(places)).filter(({ record }) => flags.all || record.phase !== 'ended');
  const rows = await Promise.all(known.map((bottle) => rowOf(bottle, world)));
  if (flags.json) {
    world.terminal.stdout.write(`${JSON.stringify(rows, undefined, 2)}\n`);
    return 0;
  }
  if (rows.length === 0) {
    world.terminal.stderr.write('no bottles; claude-bottle start makes one\n');
    return 0;
  }
  world.terminal.stdout.write(tableOf(rows));
  return 0;
}

async function rowOf(bottle: KnownBottle, world: World): Promise<Row> {
  const { record } = bottle;
  const base = {
    slug: record.slug,
    agent: record.agent,
    backend: record.backend,
    since: record.startedAt,
    image: record.image.reference,
    ...(record.egress === undefined ? {} : { egress: record.egress }),
    ...(record.exitCode === undefined ? {} : { exitCode: record.exitCode }),
    ...(record.work?.branch === undefined ? {} : { branch: record.work.branch }),
  };
  switch (record.phase) {
    case 'ended':
      return { ...base, status: 'ended' };
    case 'kept':
      return {
        ...base,
        status: 'exited',
        ...(record.keptBecause === undefined ? {} : { note: record.keptBecause }),
      };
    case 'making':
      return { ...base, status: 'making' };
    case 'running':
      return { ...base, ...(await liveOf(bottle, world)) };
  }
}

async function liveOf(
  bottle: KnownBottle,
  { signal }: World,
): Promise<Pick<Row, 'status' | 'egress' | 'note'>> {
  if (!(await isSupervised(bottle))) return { status: 'exited', note: 'its supervisor was killed' };
  const [answer, printed] = await Promise.all([
    ask(bottle, { do: 'status' }).catch(() => undefined) as Promise<StatusAnswer | undefined>,
    bottle.record.terminal
      ? // One that goes just now, or whose engine does, is listed without.
        handleOn(bottle, signal)
          .then((handle) => handle.lastOutput(signal))
          .catch(() => undefined)
      : undefined,
  ]);
  signal.throwIfAborted();
  const isSilent = printed !== undefined && Date.now() - printed.getTime() > silentMs;
  if (answer === undefined) return { status: 'running', note: 'its supervisor does not answer' };
  const { allowed, denied, failed } = answer.egress;
  return {
    status: bottle.record.terminal && isSilent ? 'waiting' : 'running',
    egress: { allowed, denied, failed },
  };
}

function tableOf(rows: readonly Row[]): string {
  const header = ['BOTTLE', 'AGENT', 'BACKEND', 'STATUS', 'SINCE', 'IMAGE', 'EGRESS', ''];
  const cells = rows.map((row) => [
    row.slug,
    row.agent,
    row.backend,
    row.status + (row.exitCode === undefined ? '' : ` (${row.exitCode})`),
    formatAge(Date.now() - Date.parse(row.since)),
    row.image,
    egressOf(row),
    row.note ?? row.branch ?? '',
  ]);
  return renderTable(header, cells);
}

function egressOf({ egress }: Row): string {
  if (egress === undefined) return '';
  const { allowed, denied, failed } = egress;
  return `${allowed} out, ${denied} refused${failed === 0 ? '' : `, ${failed} failed`}`;
}
