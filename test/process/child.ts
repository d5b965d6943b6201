import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const root = new URL('../..', import.meta.url).href;

/** A directory for one test, removed with it. */
export async function temporary(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** A real process of its own that runs a module's text; `src/` and `test/` resolve against this repository. */
export function node(source: string, args: readonly string[] = []) {
  const text = source.replaceAll(/'((?:src|test)\/[^']+)'/g, (_, path: string) => `'${root}${path}'`);
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', text, '--', ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const waiting: (() => void)[] = [];
  const reader = createInterface({ input: child.stdout });
  reader.on('line', (line) => {
    lines.push(line);
    for (const wake of waiting.splice(0)) wake();
  });
  const ended = once(child, 'exit').then(([code, signal]) => (signal as string | null) ?? (code as number));
  const drained = once(reader, 'close');
  return {
    pid: child.pid ?? 0,
    stdin: child.stdin,
    lines,
    /** The next line that the child prints. */
    async line(): Promise<string> {
      while (lines.length === 0) {
        await Promise.race([
          new Promise<void>((resolve) => waiting.push(resolve)),
          drained.then(() => {
            if (lines.length === 0) throw new Error('the child ended without a line');
          }),
        ]);
      }
      return lines.shift() ?? '';
    },
    kill(signal: NodeJS.Signals = 'SIGKILL') {
      child.kill(signal);
    },
    /** The exit code, or the name of the signal that ended it. */
    async end(): Promise<number | string> {
      const code = await ended;
      await drained;
      return code;
    },
  };
}

/** Waits until something holds; a test that waits in vain fails by its runner's limit. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUp = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > giveUp) throw new Error('what was waited for did not come');
    await sleep(10);
  }
}
