import type { Command } from 'commander';
import { parseBytes } from '../definitions/size.ts';
import { LayerStore } from '../oci/layer-store.ts';
import { Cache } from '../smolmachine/cache.ts';
import type { CacheEntry } from '../smolmachine/entry.ts';
import { reapLeftovers } from '../smolmachine/leftovers.ts';
import { type PruneReport, prune } from '../smolmachine/prune.ts';
import { type VerifyResult, verifyCache } from '../smolmachine/verify.ts';
import { Progress } from '../terminal/progress.ts';
import { renderTable } from '../terminal/table.ts';
import { withoutControls } from '../terminal/terminal.ts';
import { formatAge, formatBytes, parseDuration } from '../terminal/units.ts';
import { BadUsage, commandLine, parse } from './command-line.ts';
import { BadValue, CacheDamaged } from './errors.ts';
import { cachePath, type World } from './world.ts';

interface PruneFlags {
  olderThan?: string;
  maxSize?: string;
  keep?: string;
  all: boolean;
  dryRun: boolean;
  json: boolean;
}

interface VerifyFlags {
  fix: boolean;
  deep: boolean;
  json: boolean;
}

interface Opened {
  readonly cache: Cache;
  readonly layers: LayerStore;
}

/** `claude-bottle cache list|prune|verify`. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  let action: (() => Promise<void>) | undefined;
  const command = commandLine('cache', world).description('What pack has kept.');
  const sub = (name: string, description: string): Command =>
    command
      .command(name)
      .description(description)
      .exitOverride()
      .allowExcessArguments(false)
      .configureOutput({ writeOut: (text) => world.terminal.stdout.write(text), writeErr: () => undefined });

  sub('list', 'every entry, the most recently used first')
    .option('--json', 'one JSON document', false)
    .action((flags: { json: boolean }) => {
      action = async () => list(await open(world), flags.json, world);
    });
  sub(
    'prune',
    'Removes entries, the least recently used first, and the layers that no other entry needs. By whichever rule, also the\nartifacts that smolvm (1.9.0 or newer) unpacked for machines of bottles and that no machine uses any more.',
  )
    .summary('remove entries, the least recently used first, and the layers that no other entry needs')
    .option('--older-than <time>', 'those not used for this long: 12h, 30d, 4w')
    .option('--max-size <bytes>', 'until what is left takes no more than this: 500M, 10G')
    .option('--keep <count>', 'all but this many')
    .option('--all', 'all of them', false)
    .option('--dry-run', 'only say what would go', false)
    .option('--json', 'one JSON document', false)
    .action((flags: PruneFlags) => {
      const rules = rulesOf(flags);
      action = async () => pruneNow(await open(world), rules, flags, world);
    });
  sub('verify', 'read every byte and hold it against what was recorded')
    .option('--fix', 'remove what is damaged; it is made anew when it is needed', false)
    .option('--deep', 'also decompress every artifact', false)
    .option('--json', 'JSON lines, one a result', false)
    .action((flags: VerifyFlags) => {
      action = async () => verifyNow(await open(world), flags, world);
    });
  if (argv.length === 0) {
    command.outputHelp();
    return 2;
  }
  if (!parse(command, argv) || action === undefined) return 0;
  await action();
  return 0;
}

async function open(world: World): Promise<Opened> {
  const cache = await Cache.open(cachePath(world));
  await reapLeftovers(cache.tree, world.signal);
  return { cache, layers: new LayerStore(cache.tree.layersRoot) };
}

async function list({ cache, layers }: Opened, json: boolean, world: World): Promise<void> {
  const [entries, stored] = await Promise.all([cache.list(), layers.list()]);
  const layerBytes = stored.reduce((sum, { bytes }) => sum + bytes, 0);
  if (json) {
    const document = {
      root: cache.tree.root,
      entries: entries.map(({ path, record }) => ({ path, ...record })),
      layers: { count: stored.length, bytes: layerBytes },
    };
    world.terminal.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
    return;
  }
  if (entries.length > 0) {
    const now = Date.now();
    const rows = entries.map(({ record }) => [
      record.key,
      record.form,
      oneLine(record.image.reference),
      oneLine(record.platform),
      formatBytes(record.sizes.artifact),
      `${formatAge(now - Date.parse(record.lastUsed))} ago`,
    ]);
    const header = ['KEY', 'FORM', 'IMAGE', 'PLATFORM', 'SIZE', 'USED'];
    world.terminal.stdout.write(
      renderTable(header, rows, ['left', 'left', 'left', 'left', 'right', 'right']),
    );
  }
  const total = layerBytes + entries.reduce((sum, { record }) => sum + record.sizes.artifact, 0);
  world.terminal.stderr.write(
    `${count(entries.length, 'entry', 'entries')}, ${count(stored.length, 'shared layer')} of ${formatBytes(layerBytes)}; ${formatBytes(total)} in all in ${oneLine(cache.tree.root)}\n`,
  );
}

function rulesOf(flags: PruneFlags) {
  const { olderThan, maxSize, keep } = flags;
  if (olderThan === undefined && maxSize === undefined && keep === undefined && !flags.all) {
    throw new BadUsage({
      problem: 'prune needs to know what may go: --older-than, --max-size, --keep or --all',
      hint: 'claude-bottle cache prune --older-than 30d --dry-run',
    });
  }
  return {
    all: flags.all,
    ...(olderThan === undefined
      ? {}
      : { olderThanMs: value('--older-than', olderThan, parseDuration, 'a time such as 12h or 30d') }),
    ...(maxSize === undefined
      ? {}
      : { maxBytes: value('--max-size', maxSize, parseBytes, 'a size such as 500M or 10G') }),
    ...(keep === undefined ? {} : { keep: value('--keep', keep, parseCount, 'a whole number') }),
  };
}

function value(
  what: string,
  text: string,
  read: (text: string) => number | undefined,
  expected: string,
): number {
  const number = read(text);
  if (number === undefined)
    throw new BadValue({ what, value: text, expected, help: 'claude-bottle cache prune --help' });
  return number;
}

function parseCount(text: string): number | undefined {
  return /^\d{1,6}$/.test(text) ? Number(text) : undefined;
}

async function pruneNow(
  { cache, layers }: Opened,
  rules: ReturnType<typeof rulesOf>,
  flags: PruneFlags,
  world: World,
): Promise<void> {
  const report = await prune(cache, layers, { ...rules, dryRun: flags.dryRun, signal: world.signal });
  // Told before smolvm is asked: what it does with its own is slower, and may fail.
  if (!flags.json) tell(report, flags.dryRun, world);
  const { pruneUnpacked, unpackedLine } = await import('./cache-unpacked.ts');
  const unpacked = await pruneUnpacked(world, flags);
  if (flags.json) {
    const plain = (entry: CacheEntry) => ({ path: entry.path, ...entry.record });
    const document = {
      ...report,
      removed: report.removed.map(plain),
      keptInUse: report.keptInUse.map(plain),
      unpacked,
    };
    world.terminal.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
    return;
  }
  const line = unpackedLine(unpacked, flags);
  if (line !== undefined) world.terminal.stderr.write(`${oneLine(line)}\n`);
}

function tell(report: PruneReport, dryRun: boolean, world: World): void {
  const say = (line: string) => world.terminal.stderr.write(`${line}\n`);
  for (const { record } of report.removed) {
    world.terminal.stdout.write(`${record.key}  ${record.form}  ${oneLine(record.image.reference)}\n`);
  }
  for (const { record } of report.keptInUse) say(`· kept ${record.key} (${record.form}): it is in use`);
  if (report.layersInUse) say('· kept layers that no entry needs: another run may be using them');
  const what = [
    count(report.removed.length, 'entry', 'entries'),
    ...(report.layersRemoved.length > 0 ? [count(report.layersRemoved.length, 'layer')] : []),
    ...(report.compiledBytes > 0 ? ['compiled code of other versions'] : []),
    ...(report.orphans.length > 0 ? [count(report.orphans.length, 'leftover')] : []),
  ].join(', ');
  say(`${dryRun ? 'would remove' : 'removed'} ${what}: ${formatBytes(report.freedBytes)}`);
}

async function verifyNow({ cache, layers }: Opened, flags: VerifyFlags, world: World): Promise<void> {
  const progress = new Progress(world.terminal);
  const results: VerifyResult[] = [];
  await progress.phase({ doing: 'verifying the cache', done: 'verified the cache' }, async (update) => {
    let bytes = 0;
    const onBytes = (read: number) => update({ bytes: (bytes += read) });
    for await (const result of verifyCache(cache, layers, {
      fix: flags.fix,
      deep: flags.deep,
      onBytes,
      signal: world.signal,
    })) {
      results.push(result);
      if (flags.json) world.terminal.stdout.write(`${JSON.stringify(result)}\n`);
    }
  });
  const bad = results.filter(({ state }) => state !== 'ok');
  if (!flags.json) {
    for (const result of bad) {
      const name = result.kind === 'layer' ? `layer ${result.diffId}` : result.path;
      const verdict = `${result.reason ?? result.state}${result.removed ? ' (removed)' : ''}`;
      progress.warn(oneLine(`${name}: ${verdict}`));
    }
    progress.say(`${results.length - bad.length} sound, ${bad.length} not`);
  }
  const damaged = bad.filter(({ removed }) => !removed).length;
  if (damaged > 0) throw new CacheDamaged({ damaged });
}

/** Text from outside, for a line of ours: it shall neither steer the terminal nor look like another line. */
function oneLine(text: string): string {
  return withoutControls(text).replace(/[\n\t\u2028\u2029]/g, '\ufffd');
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}
