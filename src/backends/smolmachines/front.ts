import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { rawTerminal } from '../../process/foreground.ts';
import type { SessionKind } from '../init-arguments.ts';
import { frame, framesOf, windowFrame } from './frames.ts';
import { LettingGo } from './letting-go.ts';

const passedOn = ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP'] as const;
/** Between a size that is not the terminal's and the one that is, so that a program draws itself again. */
const redrawMs = 50;

/** Where what is typed goes to. */
export interface Line {
  /** @returns whether it takes more at once; else it calls `onDrain`. */
  send(bytes: Buffer): boolean;
  onDrain(take: () => void): void;
}

export interface FrontOptions {
  readonly kind: SessionKind;
  /** The program is there already and has drawn itself for somebody else. */
  readonly redraws: boolean;
  /** A signal came that means this process. */
  readonly onSignal: (signal: (typeof passedOn)[number]) => void;
  /** The keys were pressed, or the terminal is gone. */
  readonly onLeave: (code: number) => void;
}

/** This process's own terminal and standard streams, in front of a session. */
export class Front implements Disposable {
  readonly #line: Line;
  readonly #options: FrontOptions;
  readonly #letting = new LettingGo();
  #undo: (() => void)[] = [];

  private constructor(line: Line, options: FrontOptions) {
    this.#line = line;
    this.#options = options;
  }

  /** Makes the terminal raw, if it is to be one, and sends on what is typed. */
  static open(line: Line, options: FrontOptions): Front {
    const front = new Front(line, options);
    for (const signal of passedOn) {
      const pass = () => options.onSignal(signal);
      process.on(signal, pass);
      front.#undo.push(() => process.off(signal, pass));
    }
    if (options.kind === 'terminal') front.#openTerminal();
    front.#openInput();
    return front;
  }

  /** Sends the number of a signal to the command. */
  pass(signal: (typeof passedOn)[number]): void {
    this.#line.send(frame('signal', Uint8Array.of(constants.signals[signal])));
  }

  [Symbol.dispose](): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#undo = [];
    process.stdin.pause();
  }

  get #isRaw(): boolean {
    return this.#options.kind === 'terminal' && process.stdin.isTTY;
  }

  #openTerminal(): void {
    if (this.#isRaw) {
      const raw = rawTerminal();
      this.#undo.push(() => raw[Symbol.dispose]());
    }
    if (!process.stdout.isTTY) return;
    const tell = (more: number) => {
      const [columns, rows] = process.stdout.getWindowSize();
      this.#line.send(windowFrame(rows + more, columns));
    };
    const resized = () => tell(0);
    process.stdout.on('resize', resized);
    this.#undo.push(() => process.stdout.off('resize', resized));
    if (this.#options.redraws) {
      tell(1);
      const timer = setTimeout(resized, redrawMs);
      this.#undo.push(() => clearTimeout(timer));
    } else tell(0);
  }

  #openInput(): void {
    const { stdin } = process;
    this.#line.onDrain(() => stdin.resume());
    stdin.on('data', (bytes: Buffer) => {
      const typed = this.#isRaw ? this.#letting.push(bytes) : bytes;
      if (typed === undefined) return this.#options.onLeave(0);
      const isTaken = framesOf('data', typed).map((each) => this.#line.send(each));
      if (isTaken.includes(false)) stdin.pause();
    });
    stdin.on('end', () => {
      if (this.#isRaw) this.#options.onLeave(128 + constants.signals.SIGHUP);
      else this.#line.send(frame('end'));
    });
    stdin.on('error', () => this.#options.onLeave(128 + constants.signals.SIGHUP));
  }
}

/** Writes to a stream of ours, and lets the source wait while it is full. */
export function writeThrough(target: NodeJS.WriteStream, bytes: Uint8Array, source: Readable): void {
  if (target.write(bytes) || source.isPaused()) return;
  source.pause();
  target.once('drain', () => source.resume());
}

/** Waits until everything was written, for as long as anybody reads. */
export async function flush(): Promise<void> {
  await Promise.all(
    [process.stdout, process.stderr].map(
      (stream) => new Promise<void>((resolve) => stream.write('', () => resolve())),
    ),
  );
}
