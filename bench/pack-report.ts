import { renderTable } from '../src/terminal/table.ts';
import { type Goal, goalsTable } from './goals.ts';
import type { Figures } from './measure.ts';
import { median } from './statistics.ts';

export interface PackReport {
  readonly machine: string;
  readonly engine: string;
  readonly node: string;
  readonly program: 'sources' | 'built package';
  readonly image: { readonly bytes: number; readonly layers: number };
  readonly runs: number;
  readonly quick: boolean;
  /** Whether every consumer ended with the same files. */
  readonly sameTree: boolean;
  readonly ways: Readonly<
    Record<
      string,
      { readonly label: string; readonly figures: readonly Figures[]; readonly failure?: string }
    >
  >;
}

const mega = 1e6;
const coldWays = ['cold-push', 'cold-save', 'cold-export'] as const;

function wallOf(report: PackReport, way: string): number {
  return median(report.ways[way]?.figures.map(({ wallMs }) => wallMs) ?? []);
}

function cpuOf(report: PackReport, way: string): number {
  const sums = report.ways[way]?.figures.map(
    ({ clientCpuMs, engineCpuMs = NaN }) => clientCpuMs + engineCpuMs,
  );
  return median(sums ?? []);
}

/** The goals by what the engine stores: blobs are pushed as they are, layers of a graph driver are compressed anew. */
function goalsOf(report: PackReport): Goal[] {
  const containerd = report.engine.endsWith('overlayfs');
  const [coldGoal, changedGoal] = containerd ? [0.85, 0.4] : [0.4, 0.15];
  const predecessor = wallOf(report, 'registry');
  const cold = coldWays.map((way) => ({ way, ratio: wallOf(report, way) / predecessor }));
  const best = cold.reduce((least, each) => (each.ratio < least.ratio ? each : least));
  const changed = wallOf(report, 'changed-line') / predecessor;
  const peak = Math.max(
    ...Object.values(report.ways).flatMap(({ figures }) => figures.map(({ peakBytes = 0 }) => peakBytes)),
  );
  const extra = wallOf(report, 'hit') - wallOf(report, 'build');
  return [
    {
      goal: `c/a, best feeder, <= ${coldGoal}`,
      measured: `${best.ratio.toFixed(2)} (${best.way.slice('cold-'.length)})`,
      met: best.ratio <= coldGoal,
    },
    { goal: `d/a <= ${changedGoal}`, measured: changed.toFixed(2), met: changed <= changedGoal },
    { goal: 'peak memory <= 150 MB', measured: `${Math.round(peak / mega)} MB`, met: peak <= 150 * mega },
    { goal: 'hit <= no-op build + 100 ms', measured: `${signed(extra)} ms`, met: extra <= 100 },
    { goal: 'same tree every way', measured: report.sameTree ? 'yes' : 'no', met: report.sameTree },
  ];
}

function signed(ms: number): string {
  return `${ms < 0 ? '-' : '+'}${Math.abs(Math.round(ms))}`;
}

/** Whether all goals were met. A quick run is too small to tell, so there it is whether everything worked. */
export function reachedGoals(report: PackReport): boolean {
  const worked = Object.values(report.ways).every(({ failure }) => failure === undefined) && report.sameTree;
  return worked && (report.quick || goalsOf(report).every(({ met }) => met));
}

export function printPackReport(report: PackReport, json: boolean): void {
  const goals = goalsOf(report);
  if (json) {
    process.stdout.write(`${JSON.stringify({ ...report, goals }, undefined, 2)}\n`);
    return;
  }
  const rows = Object.entries(report.ways).map(([name, { label, figures, failure }]) =>
    failure === undefined ? rowOf(report, name, label, figures) : [label, 'failed'],
  );
  const write = (text: string) => process.stdout.write(text);
  write(
    `${report.machine}; engine ${report.engine}; Node ${report.node}; ours: ${report.program}\n` +
      `image: ${Math.round(report.image.bytes / mega)} MB in ${report.image.layers} layers; medians of ${report.runs} run(s), in turns\n\n`,
  );
  write(
    renderTable(
      [
        'way',
        'wall s',
        'least',
        'most',
        'consumer s',
        'client CPU s',
        'engine CPU s',
        'peak MB',
        '/ a',
        'CPU / a',
      ],
      rows,
      ['left', ...Array.from({ length: 9 }, () => 'right' as const)],
    ),
  );
  for (const { label, failure } of Object.values(report.ways)) {
    if (failure !== undefined) write(`\n${label.trim()} failed: ${failure}\n`);
  }
  write(`\nWhere our own time goes (median ms):\n`);
  for (const [name, { label, figures }] of Object.entries(report.ways)) {
    const steps = stepsOf(figures);
    if (steps !== '') write(`  ${(label.trim() || name).padEnd(38)} ${steps}\n`);
  }
  write('\n');
  write(goalsTable(goals, { isQuick: report.quick }));
}

function rowOf(report: PackReport, name: string, label: string, figures: readonly Figures[]): string[] {
  const walls = figures.map(({ wallMs }) => wallMs);
  const seconds = (ms: number | undefined, digits = 2) =>
    ms === undefined || Number.isNaN(ms) ? '-' : (ms / 1000).toFixed(digits);
  const defined = (values: readonly (number | undefined)[]) => values.filter((value) => value !== undefined);
  const peaks = defined(figures.map(({ peakBytes }) => peakBytes));
  const compared = !['save', 'export', 'build', 'hit'].includes(name);
  return [
    label,
    seconds(median(walls)),
    seconds(Math.min(...walls)),
    seconds(Math.max(...walls)),
    seconds(median(defined(figures.map(({ consumer }) => consumer?.totalMs)))),
    seconds(median(figures.map(({ clientCpuMs }) => clientCpuMs)), 1),
    seconds(median(defined(figures.map(({ engineCpuMs }) => engineCpuMs))), 1),
    peaks.length === 0 ? '-' : String(Math.round(Math.max(...peaks) / mega)),
    compared ? ratio(median(walls), wallOf(report, 'registry')) : '',
    compared ? ratio(cpuOf(report, name), cpuOf(report, 'registry')) : '',
  ];
}

function ratio(value: number, base: number): string {
  return Number.isNaN(value / base) ? '-' : (value / base).toFixed(2);
}

function stepsOf(figures: readonly Figures[]): string {
  const times = new Map<string, number[]>();
  for (const { steps = [] } of figures) {
    for (const { phase, ms } of steps) times.set(phase, [...(times.get(phase) ?? []), ms]);
  }
  return [...times].map(([phase, ms]) => `${phase} ${Math.round(median(ms))}`).join(', ');
}
