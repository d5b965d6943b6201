import { spawn, spawnSync } from 'node:child_process';
import { writeSync } from 'node:fs';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { CommandMissing } from './errors.ts';

/** A program that takes over this process's standard streams and terminal. */
export interface ForegroundProgram {
  readonly command: string;
  readonly args: readonly string[];
  /** Laid over our own environment; `undefined` removes a variable. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Ours, if absent. */
  readonly cwd?: string;
}

/** What a terminal's own keys send to everybody in front, us included: it is meant for the program. */
const ofTheKeyboard: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGTSTP'];
/** What is sent to us alone, and has to reach the program. */
const forwarded: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP'];

/** Between the polite signal and the final one. */
const graceMs = 3_000;

/**
 * What undoes what a full-screen program that was killed may have left on: mouse reports, pasting in brackets, focus
 * reports, application keys, the alternate screen, a hidden cursor, attributes (xterm, ctlseqs).
 */
const calm =
  '\u001b[?1000l\u001b[?1002l\u001b[?1003l\u001b[?1006l\u001b[?2004l\u001b[?1004l\u001b[?1l\u001b>\u001b[?1049l\u001b[?25h\u001b[0m';

/**
 * Runs a program on our own standard streams and in our own process group, so that it has the terminal as we have it,
 * and puts the terminal back as it was, however the program ends. Meanwhile the keys' signals are the program's alone,
 * and SIGTERM and SIGHUP are passed on to it.
 * @param options.passesSignals false: SIGTERM and SIGHUP are left to whoever else in this process listens to them.
 * @param options.signal ends the program: SIGTERM, and SIGKILL after three seconds; the call then throws its reason.
 * @returns the exit status; 128 + n when signal n ended the program.
 * @throws CommandMissing when there is no such program.
 */
export async function runForeground(
  program: ForegroundProgram,
  options: { readonly signal?: AbortSignal; readonly passesSignals?: boolean } = {},
): Promise<{ readonly code: number }> {
  options.signal?.throwIfAborted();
  using _terminal = new Terminal();
  const { command, args } = program;
  const child = spawn(command, [...args], {
    env: { ...process.env, ...program.env },
    cwd: program.cwd,
    stdio: 'inherit',
  });
  const ignore = () => undefined;
  const pass = (signal: NodeJS.Signals) => void child.kill(signal);
  for (const signal of ofTheKeyboard) process.on(signal, ignore);
  const passed = options.passesSignals === false ? [] : forwarded;
  for (const signal of passed) process.on(signal, pass);
  let insist: NodeJS.Timeout | undefined;
  const stop = () => {
    child.kill('SIGTERM');
    insist = setTimeout(() => child.kill('SIGKILL'), graceMs);
  };
  options.signal?.addEventListener('abort', stop, { once: true });
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', (error: NodeJS.ErrnoException) => {
        reject(error.code === 'ENOENT' || error.code === 'EACCES' ? new CommandMissing({ command }) : error);
      });
      child.once('exit', (status, signal) =>
        resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal])),
      );
    });
    options.signal?.throwIfAborted();
    return { code };
  } finally {
    clearTimeout(insist);
    options.signal?.removeEventListener('abort', stop);
    for (const signal of ofTheKeyboard) process.off(signal, ignore);
    for (const signal of passed) process.off(signal, pass);
  }
}

/** The modes of the terminal that is our standard input, if it is one, to be put back. */
class Terminal implements Disposable {
  readonly #modes = isatty(0) ? stty(['-g']) : undefined;

  [Symbol.dispose](): void {
    // Whoever ends in good order puts the modes back. Who did not left more than modes.
    if (this.#modes === undefined || stty(['-g']) === this.#modes) return;
    stty([this.#modes]);
    if (isatty(1)) writeSync(1, calm);
  }
}

/**
 * Makes the terminal that is our standard input pass on every byte as it is, both ways, until disposed. Node's own way
 * leaves it adding carriage returns to what is printed (libuv, src/unix/tty.c, UV_TTY_MODE_RAW), which moves the cursor of
 * a full-screen program.
 */
export function rawTerminal(): Disposable {
  const modes = stty(['-g']);
  stty(['raw', '-echo']);
  return {
    [Symbol.dispose]() {
      if (modes !== undefined) stty([modes]);
    },
  };
}

/**
 * What stty prints about our terminal; `undefined` when it fails, for then there is no terminal any more. Not through
 * `run`, which gives a program a session of its own and thereby no terminal.
 */
function stty(args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync('stty', [...args], {
    stdio: ['inherit', 'pipe', 'ignore'],
    encoding: 'latin1',
    timeout: 2_000,
    killSignal: 'SIGKILL',
  });
  return status === 0 ? stdout.trim() : undefined;
}
