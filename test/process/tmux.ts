import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run, type RunResult } from '../../src/process/run.ts';

export interface Terminal extends AsyncDisposable {
  tmux(...args: string[]): Promise<RunResult>;
  type(...keys: string[]): Promise<RunResult>;
  /** Waits until the screen, with what scrolled away, has it. */
  shows(text: RegExp): Promise<RegExpExecArray>;
}

/** A terminal of 100 by 30 that runs a shell's command, then stays to be looked at. */
export async function openTerminal(script: string): Promise<Terminal> {
  const directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
  const tmux = (...args: string[]) =>
    run('tmux', ['-S', join(directory, 'tmux'), ...args], { deadlineMs: 20_000 });
  const start = ['-f', '/dev/null', 'new-session', '-d', '-x', '100', '-y', '30'];
  const opened = await tmux(...start, `${script}; sleep 600`);
  assert.equal(opened.code, 0, opened.stderr);
  return {
    tmux,
    type: (...keys) => tmux('send-keys', ...keys),
    async shows(text) {
      for (let tries = 0; ; tries++) {
        const { stdout } = await tmux('capture-pane', '-p', '-S', '-200');
        const found = text.exec(stdout);
        if (found !== null) return found;
        if (tries === 600) throw new Error(`the screen never shows ${text}:\n${stdout}`);
        await sleep(50);
      }
    },
    async [Symbol.asyncDispose]() {
      await tmux('kill-server');
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** One word of a shell. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
