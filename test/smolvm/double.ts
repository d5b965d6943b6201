import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** The double of smolvm. */
export const double = join(import.meta.dirname, '..', 'fakes', 'smolvm');

export const versions = ['0.8.0', '1.0.2', '1.5.0', '1.7.0', '1.8.1', '1.9.3'] as const;

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Nothing that the double is asked for here takes so long; one that hangs would keep its test's file from ending. */
const patienceMs = 240_000;

/** Runs the double to its end. */
export async function smolvm(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd?: string,
): Promise<Ran> {
  const child = spawn(double, [...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: patienceMs,
    killSignal: 'SIGKILL',
    ...(cwd === undefined ? {} : { cwd }),
  });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...text };
}
