import { renderTable } from '../../src/terminal/table.ts';
import { type Goal, goalsTable } from '../goals.ts';

/** In the order of `medians`: MB/s, then microseconds. */
const rates = ['down', 'up'] as const;
const times = ['small p50', 'small p95', 'fresh p50', 'fresh p95'] as const;
export const metrics = [...rates, ...times];
type Metric = (typeof metrics)[number];

function isRate(metric: Metric): boolean {
  return (rates as readonly string[]).includes(metric);
}

export interface GateReport {
  readonly machine: string;
  readonly node: string;
  readonly runs: number;
  readonly bytes: number;
  readonly quick: boolean;
  /** MB of the gate's process. */
  readonly memory: { readonly idle: number; readonly peak: number };
  readonly ways: readonly {
    readonly name: string;
    readonly medians: readonly number[];
    /** Of rounds that are not in the medians. */
    readonly failures: readonly string[];
  }[];
}

const kinds = ['HTTP', 'tunnel'] as const;

function valueOf({ ways }: GateReport, way: string, metric: Metric): number {
  return ways.find(({ name }) => name === way)?.medians[metrics.indexOf(metric)] ?? NaN;
}

function goalsOf(report: GateReport): Goal[] {
  const ratios = kinds.flatMap((kind) =>
    rates.map((metric) => ({
      name: `${kind} ${metric}`,
      ratio: valueOf(report, `ours, ${kind}`, metric) / valueOf(report, 'direct', metric),
    })),
  );
  const added = kinds.flatMap((kind) =>
    (['small p50', 'fresh p50'] as const).map(
      (metric) => valueOf(report, `ours, ${kind}`, metric) - valueOf(report, 'direct', metric),
    ),
  );
  const most = Math.max(...added) / 1000;
  return [
    ...ratios.map(({ name, ratio }) => ({
      goal: `${name} >= 0.7 of direct`,
      measured: ratio.toFixed(2),
      met: ratio >= 0.7,
    })),
    { goal: 'p50 <= direct + 1 ms', measured: `+${most.toFixed(2)} ms`, met: most <= 1 },
    // In a bottle they would need the relay as well.
    ...['squid', 'mitmproxy'].map((rival) => {
      const behind = kinds.flatMap((kind) =>
        metrics
          .filter((metric) => !metric.endsWith('p95'))
          .flatMap((metric) => {
            const ours = valueOf(report, `ours, ${kind}, no relay`, metric);
            const theirs = valueOf(report, `${rival}, ${kind}`, metric);
            const isAhead = isRate(metric) ? ours >= theirs : ours <= theirs;
            // What they cannot do at all we are ahead in.
            return isAhead || Number.isNaN(theirs) ? [] : [`${kind} ${metric}`];
          }),
      );
      return {
        goal: `ahead of ${rival}, both without relay`,
        measured: behind.length === 0 ? 'in all' : `behind: ${behind.join(', ')}`,
        met: behind.length === 0,
      };
    }),
    {
      goal: 'idle process <= 60 MB',
      measured: `${Math.round(report.memory.idle)} MB`,
      met: report.memory.idle <= 60,
    },
  ];
}

/** Of a quick run only whether ours worked. */
export function reachedGateGoals(report: GateReport): boolean {
  const worked = report.ways.every(
    ({ name, failures }) => failures.length === 0 || !/ours|direct/.test(name),
  );
  return worked && (report.quick || goalsOf(report).every(({ met }) => met));
}

export function printGateReport(report: GateReport, json: boolean): void {
  const goals = goalsOf(report);
  const write = (text: string) => process.stdout.write(text);
  if (json) {
    write(`${JSON.stringify({ ...report, metrics, goals }, undefined, 2)}\n`);
    return;
  }
  write(
    `${report.machine}; Node ${report.node}; ${Math.round(report.bytes / 1e6)} MB a transfer; medians of ${report.runs} round(s), in turns\n\n`,
  );
  const rows = report.ways.map(({ name, medians }) => {
    const cells = metrics.flatMap((metric, i) => {
      const value = medians[i] ?? NaN;
      const base = valueOf(report, 'direct', metric);
      if (isRate(metric)) return [value.toFixed(0), (value / base).toFixed(2)];
      return [value.toFixed(0)];
    });
    return [name, ...cells];
  });
  const heads = [
    'way',
    ...rates.flatMap((metric) => [`${metric} MB/s`, '/ direct']),
    ...times.map((metric) => `${metric} µs`),
  ];
  write(renderTable(heads, rows, ['left', ...heads.slice(1).map(() => 'right' as const)]));
  for (const { name, failures } of report.ways) {
    if (failures.length > 0) write(`\n${name} failed ${failures.length} time(s): ${failures.at(-1) ?? ''}\n`);
  }
  write(
    `\nthe gate's process: ${Math.round(report.memory.idle)} MB idle, ${Math.round(report.memory.peak)} MB at its most\n\n`,
  );
  write(goalsTable(goals, { isQuick: report.quick }));
}
