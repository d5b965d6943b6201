import { renderTable } from '../src/terminal/table.ts';
import type { Goal } from './goals.ts';
import type { Memory } from './bottles.ts';

interface WayFigures {
  /** Medians, and the quickest. */
  readonly firstByteMs: number;
  readonly leastFirstByteMs: number;
  readonly exitMs: number;
  readonly leastExitMs: number;
  readonly phases: readonly { readonly phase: string; readonly ms: number }[];
}

export interface StartReport {
  readonly machine: string;
  readonly engine: string;
  readonly node: string;
  readonly program: string;
  readonly image: string;
  readonly runs: number;
  readonly ways: Readonly<Record<'dockerRun' | 'start' | 'repository', WayFigures>>;
  /** Of one bottle's supervisor with its gate, in bytes. */
  readonly memory: { readonly idle: Memory; readonly used: Memory; readonly requests: number };
  /** Means, in bytes. */
  readonly crowd: {
    readonly bottles: number;
    readonly allRunMs: number;
    readonly rss: number;
    readonly pss: number;
  };
}

const goalMs = 150;
const goalBytes = 60e6;

function goalsOf({ ways, memory, crowd }: StartReport): readonly Goal[] {
  const later = ways.start.firstByteMs - ways.dockerRun.firstByteMs;
  const own = (name: string, bytes: number): Goal => ({
    goal: `${name} <= ${megabytes(goalBytes)}`,
    measured: megabytes(bytes),
    met: bytes <= goalBytes,
  });
  return [
    { goal: `first byte <= docker run + ${goalMs} ms`, measured: signed(later), met: later <= goalMs },
    own('memory, idle, RSS', memory.idle.rss),
    own('memory, idle, PSS', memory.idle.pss),
    own(`memory after ${memory.requests} requests, RSS`, memory.used.rss),
    own(`memory after ${memory.requests} requests, PSS`, memory.used.pss),
    own(`memory of ${crowd.bottles} bottles / ${crowd.bottles}, PSS`, crowd.pss),
  ];
}

export function reachedStartGoals(report: StartReport): boolean {
  return goalsOf(report).every(({ met }) => met);
}

export function printStartReport(report: StartReport, json: boolean): void {
  const goals = goalsOf(report);
  if (json) {
    process.stdout.write(`${JSON.stringify({ ...report, goals }, undefined, 2)}\n`);
    return;
  }
  const { ways, memory, crowd } = report;
  const row = (name: string, way: WayFigures) => [
    name,
    ...[way.firstByteMs, way.leastFirstByteMs].map(whole),
    signed(way.firstByteMs - ways.dockerRun.firstByteMs),
    (way.firstByteMs / ways.dockerRun.firstByteMs).toFixed(2),
    ...[way.exitMs, way.leastExitMs].map(whole),
    signed(way.exitMs - ways.dockerRun.exitMs),
    (way.exitMs / ways.dockerRun.exitMs).toFixed(2),
  ];
  print(
    ['to the', 'first byte', 'least', '- A', '/ A', 'exit', 'least', '- A', '/ A'],
    [
      row('A  docker run --rm --network none', ways.dockerRun),
      row('B  claude-bottle start --no-workspace', ways.start),
      row('C  claude-bottle start, repository', ways.repository),
    ],
  );
  const phases = ways.repository.phases.map(({ phase, ms }) => {
    const same = ways.start.phases.find((each) => each.phase === phase);
    return [phase, same === undefined ? '-' : whole(same.ms), whole(ms)];
  });
  print(['phase', 'B', 'C'], phases);
  print(
    ['memory of a supervisor with its gate', 'RSS', 'PSS', 'its own'],
    [
      ['idle', ...[memory.idle.rss, memory.idle.pss, memory.idle.own].map(megabytes)],
      [
        `after ${memory.requests} requests`,
        ...[memory.used.rss, memory.used.pss, memory.used.own].map(megabytes),
      ],
      [`${crowd.bottles} at once, mean`, ...[crowd.rss, crowd.pss].map(megabytes), '-'],
    ],
  );
  process.stdout.write(`${crowd.bottles} bottles at once: all run after ${whole(crowd.allRunMs)}\n\n`);
  print(
    ['goal', 'measured', ''],
    goals.map(({ goal, measured, met }) => [goal, measured, met ? 'met' : 'MISSED']),
  );
  process.stdout.write(
    `${report.machine}; engine ${report.engine}; Node ${report.node}; ${report.program}; ${report.image}; medians of ${report.runs} runs in turns.\n`,
  );
}

function print(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const sides = head.map((_, column) => (column === 0 ? 'left' : 'right'));
  process.stdout.write(
    `${renderTable(
      [...head],
      rows.map((row) => [...row]),
      sides,
    )}\n`,
  );
}

function whole(ms: number): string {
  return `${ms.toFixed(0)} ms`;
}

function signed(ms: number): string {
  return `${ms < 0 ? '-' : '+'}${whole(Math.abs(ms))}`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
