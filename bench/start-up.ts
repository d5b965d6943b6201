import { mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { renderTable } from '../src/terminal/table.ts';
import { buildPackage, sourceProgram } from './built-package.ts';
import { succeed } from './engine.ts';
import type { Options } from './options.ts';
import { median } from './statistics.ts';

const factor = 1.3;

/** `claude-bottle --version` against Node starting for nothing, in turns. */
export async function benchStartUp(options: Options, signal: AbortSignal): Promise<boolean> {
  const bare = 'node -e 0';
  const directory = await mkdtemp(join(options.directory, 'claude-bottle-bench-'));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const built = await buildPackage(directory, signal);
  const ways: readonly [string, string, readonly string[]][] = [
    [bare, process.execPath, ['-e', '0']],
    ['node --version', process.execPath, ['--version']],
    ['claude-bottle --version', built, ['--version']],
    ['claude-bottle pack --help', built, ['pack', '--help']],
    ['claude-bottle --version, sources', sourceProgram, ['--version']],
    ['claude-bottle pack --help, sources', sourceProgram, ['pack', '--help']],
  ];
  // The built program takes the Node on the PATH.
  const env = { PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
  const times = new Map<string, number[]>(ways.map(([name]) => [name, []]));
  const runs = options.runs ?? (options.quick ? 10 : 40);
  for (let turn = -2; turn < runs; turn++) {
    for (const [name, command, args] of ways) {
      const from = performance.now();
      await succeed(command, args, { signal, env });
      // The first two turns only warm the page cache.
      if (turn >= 0) times.get(name)?.push(performance.now() - from);
    }
  }
  const bareMs = median(times.get(bare) ?? []);
  const figures = ways.map(([name]) => {
    const ms = median(times.get(name) ?? []);
    return { name, ms, least: Math.min(...(times.get(name) ?? [])), ratio: ms / bareMs };
  });
  const ours = figures.find(({ name }) => name === 'claude-bottle --version');
  const met = (ours?.ratio ?? NaN) <= factor;
  if (options.json) {
    const document = {
      runs,
      node: process.version,
      figures,
      goals: [{ goal: `<= ${factor} x ${bare}`, met }],
    };
    process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
    return met;
  }
  const rows = figures.map(({ name, ms, least, ratio }) => [
    name,
    ms.toFixed(1),
    least.toFixed(1),
    ratio.toFixed(2),
  ]);
  process.stdout.write(
    renderTable(['start-up', 'median ms', 'least ms', `/ ${bare}`], rows, [
      'left',
      'right',
      'right',
      'right',
    ]),
  );
  process.stdout.write(
    `\nNode ${process.version}, ${runs} runs in turns.\ngoal: claude-bottle --version <= ${factor} x ${bare}: ${verdict(met)}\n`,
  );
  return met;
}

function verdict(met: boolean): string {
  return met ? 'met' : 'MISSED';
}
