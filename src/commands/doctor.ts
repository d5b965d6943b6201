import { LayerStore } from '../oci/layer-store.ts';
import { Cache } from '../smolmachine/cache.ts';
import { reapLeftovers } from '../smolmachine/leftovers.ts';
import { verifyCache } from '../smolmachine/verify.ts';
import { renderTable } from '../terminal/table.ts';
import { paint } from '../terminal/terminal.ts';
import { commandLine, parse } from './command-line.ts';
import type { Check } from './doctor-check.ts';
import { checkAll } from './doctor-checks.ts';
import { ChecksFailed } from './errors.ts';
import { openBottles } from './world-bottles.ts';
import { cachePath, type World } from './world.ts';

const marks = { ok: ['green', '✓'], warning: ['yellow', '!'], failed: ['red', '✗'] } as const;

/** `claude-bottle doctor`: tells before anything heavy what would fail, and what to do. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = commandLine('doctor', world)
    .description('Checks that this host has what is needed. Exit code 3 when something needed is missing.')
    .option(
      '--fix',
      'mend what can be mended from here: leftovers of killed runs, damaged cache entries',
      false,
    )
    .option('--boot', 'also boot a machine from the artifact that was used last, and remove it', false)
    .option('--json', 'one JSON document', false);
  if (!parse(command, argv)) return 0;
  const flags = command.opts<{ fix: boolean; boot: boolean; json: boolean }>();
  const fixed = flags.fix ? await fix(world) : [];
  const checks = await checkAll(world, { boot: flags.boot });
  const failed = checks.filter(({ status }) => status === 'failed').length;
  if (flags.json) {
    world.terminal.stdout.write(`${JSON.stringify({ ok: failed === 0, checks, fixed }, undefined, 2)}\n`);
    return failed === 0 ? 0 : 3;
  }
  for (const line of fixed) world.terminal.stderr.write(`· ${line}\n`);
  world.terminal.stdout.write(table(checks, world));
  if (failed > 0) throw new ChecksFailed({ failed });
  return 0;
}

function table(checks: readonly Check[], { terminal }: World): string {
  const rows = checks.map(({ name, status, detail }) => [marks[status][1], name, detail]);
  const lines = renderTable(['', 'CHECK', 'FOUND'], rows).trimEnd().split('\n');
  return lines
    .flatMap((line, index) => {
      const check = checks[index - 1];
      if (check === undefined) return [line];
      const [color, mark] = marks[check.status];
      const shown = line.replace(mark, paint(terminal, color, mark));
      return check.hint === undefined ? [shown] : [shown, `   ${paint(terminal, 'cyan', '→')} ${check.hint}`];
    })
    .join('\n')
    .concat('\n');
}

/** What was mended, a line each. */
async function fix(world: World): Promise<string[]> {
  const done: string[] = [];
  await openBottles(world);
  const cache = await Cache.open(cachePath(world));
  const reaped = await reapLeftovers(cache.tree, world.signal);
  if (reaped > 0) done.push(`removed what ${reaped} killed ${reaped === 1 ? 'run' : 'runs'} left behind`);
  for await (const result of verifyCache(cache, new LayerStore(cache.tree.layersRoot), {
    fix: true,
    signal: world.signal,
  })) {
    if (result.removed) {
      done.push(
        `removed ${result.kind === 'layer' ? `layer ${result.diffId}` : result.path}: ${result.reason ?? 'damaged'}`,
      );
    }
  }
  return done;
}
