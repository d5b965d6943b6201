import { formatBytes, formatDuration } from './units.ts';
import { paint, type Terminal, withoutControls } from './terminal.ts';

/** What a running phase may tell about itself. */
export interface PhaseUpdate {
  readonly bytes?: number;
  readonly totalBytes?: number;
  readonly note?: string;
}

export interface Timing {
  readonly phase: string;
  readonly ms: number;
}

export interface PhaseNames {
  /** While it runs: `building the image`. */
  readonly doing: string;
  /** Once it is done: `built the image`. */
  readonly done: string;
}

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const frameMs = 100;
/** A narrower terminal shows figures only. */
const roomForBar = 70;
/** Shorter phases are not worth a figure. */
const worthTellingMs = 500;

/**
 * Says on standard error what is being done: one line a phase, redrawn while it runs on a terminal, written once at
 * its end elsewhere.
 */
export class Progress {
  readonly timings: Timing[] = [];
  readonly #terminal: Terminal;
  readonly #now: () => number;

  constructor(terminal: Terminal, now: () => number = () => performance.now()) {
    this.#terminal = terminal;
    this.#now = now;
  }

  /** Runs `work` as one phase. `work` may return the names anew, for an end that is only known then. */
  async phase<T>(names: PhaseNames, work: (update: (status: PhaseUpdate) => void) => Promise<T>): Promise<T> {
    const started = this.#now();
    let status: PhaseUpdate = {};
    let frame = 0;
    const draw = () => {
      frame = (frame + 1) % frames.length;
      this.#redraw(this.#running(frames[frame] ?? '', names.doing, status, this.#now() - started));
    };
    const timer = this.#terminal.animated ? setInterval(draw, frameMs) : undefined;
    try {
      if (timer !== undefined) draw();
      const result = await work((update) => {
        status = { ...status, ...update };
      });
      const ms = this.#now() - started;
      this.timings.push({ phase: names.done, ms });
      this.#settle(`${paint(this.#terminal, 'green', '✓')} ${names.done}${this.#took(ms, status)}`);
      return result;
    } catch (error) {
      this.#settle(
        `${paint(this.#terminal, 'red', '✗')} ${names.doing}${this.#took(this.#now() - started, {})}`,
      );
      throw error;
    } finally {
      clearInterval(timer);
    }
  }

  /** One line that stays. */
  say(line: string): void {
    this.#settle(withoutControls(line));
  }

  /** One line that stays and should be noticed. */
  warn(line: string): void {
    this.#settle(`${paint(this.#terminal, 'yellow', '!')} ${withoutControls(line)}`);
  }

  #took(ms: number, status: PhaseUpdate): string {
    const size = status.bytes === undefined ? '' : `  ${formatBytes(status.bytes)}`;
    const time = ms > worthTellingMs ? `  ${formatDuration(ms)}` : '';
    return paint(this.#terminal, 'dim', size + time);
  }

  #running(frame: string, doing: string, status: PhaseUpdate, ms: number): string {
    const parts = [`${paint(this.#terminal, 'cyan', frame)} ${doing}`];
    if (status.bytes !== undefined)
      parts.push(this.#terminal.columns < roomForBar ? '' : bar(status), rate(status, ms));
    else if (ms > worthTellingMs) parts.push(formatDuration(ms));
    if (status.note !== undefined) parts.push(paint(this.#terminal, 'dim', withoutControls(status.note)));
    return parts.filter((part) => part !== '').join('  ');
  }

  #redraw(line: string): void {
    this.#terminal.stderr.write(`\r\u001b[2K${clip(line, this.#terminal.columns - 1)}`);
  }

  #settle(line: string): void {
    this.#terminal.stderr.write(`${this.#terminal.animated ? '\r\u001b[2K' : ''}${line}\n`);
  }
}

function bar({ bytes = 0, totalBytes }: PhaseUpdate): string {
  if (totalBytes === undefined || totalBytes <= 0) return '';
  const width = 20;
  const full = Math.min(width, Math.round((bytes / totalBytes) * width));
  return `▕${'█'.repeat(full)}${'░'.repeat(width - full)}▏`;
}

function rate({ bytes = 0, totalBytes }: PhaseUpdate, ms: number): string {
  const done =
    totalBytes === undefined ? formatBytes(bytes) : `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`;
  return ms > worthTellingMs ? `${done}  ${formatBytes((bytes / ms) * 1000)}/s` : done;
}

/** Cuts a line to the terminal's width, counting escape sequences as nothing, so that redrawing never wraps. */
function clip(line: string, columns: number): string {
  let shown = 0;
  let cut = '';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour sequences start with the escape character
  for (const piece of line.split(/(\u001b\[[0-9;]*m)/)) {
    if (piece.startsWith('\u001b[')) cut += piece;
    else {
      const room = [...piece].slice(0, Math.max(0, columns - shown)).join('');
      shown += [...room].length;
      cut += room;
    }
  }
  return cut;
}
