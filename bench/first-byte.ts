import { spawn } from 'node:child_process';
import { performance } from 'node:perf_hooks';

/** One run of a command, in ms from its start. */
export interface Run {
  /** Until the first byte of its standard output. */
  readonly firstByteMs: number;
  /** Until it has ended and all its output is here. */
  readonly exitMs: number;
  readonly stderr: string;
}

export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Runs a program with an empty standard input. @throws Error unless it ends well and prints exactly `expected`. */
export async function timeRun(program: Program, expected: string, signal: AbortSignal): Promise<Run> {
  signal.throwIfAborted();
  const from = performance.now();
  const child = spawn(program.command, [...program.args], {
    env: { ...process.env, ...program.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(program.cwd === undefined ? {} : { cwd: program.cwd }),
  });
  let firstByteMs = NaN;
  let stdout = '';
  let stderr = '';
  child.stdout.once('data', () => (firstByteMs = performance.now() - from));
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const interrupt = () => void child.kill('SIGTERM');
  signal.addEventListener('abort', interrupt, { once: true });
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    const exitMs = performance.now() - from;
    signal.throwIfAborted();
    if (code === 0 && stdout === expected) return { firstByteMs, exitMs, stderr };
    throw new Error(`${[program.command, ...program.args].join(' ')} ended with ${code}: ${stdout}${stderr}`);
  } finally {
    signal.removeEventListener('abort', interrupt);
  }
}
