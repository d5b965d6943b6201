import type { Socket } from 'node:net';
import type { SessionKind } from '../init-arguments.ts';
import { type Frame, frame, type FrameName, FrameReader } from './frames.ts';

/** What a client may leave untaken before the command has to wait for it. */
const maxBehind = 1024 * 1024;
/** One that takes nothing for so long is there no more, as a terminal whose connection died. Milliseconds. */
const patienceMs = 30_000;

/** One connection to a session's broker. */
export class BrokerClient {
  readonly #socket: Socket;
  #isAttached = false;
  #isStarter = false;
  #impatience: NodeJS.Timeout | undefined;

  constructor(
    socket: Socket,
    on: { readonly hear: (frame: Frame) => void; readonly drained: () => void; readonly gone: () => void },
  ) {
    this.#socket = socket;
    const reader = new FrameReader();
    socket.on('data', (bytes: Buffer) => {
      for (const each of reader.push(bytes)) on.hear(each);
      if (reader.isMalformed) this.drop();
    });
    socket.on('drain', () => {
      clearTimeout(this.#impatience);
      this.#impatience = undefined;
      on.drained();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(this.#impatience);
      on.gone();
    });
  }

  get isAttached(): boolean {
    return this.#isAttached;
  }

  /** It is the one that started the command. */
  get isStarter(): boolean {
    return this.#isStarter;
  }

  get isBehind(): boolean {
    return !this.#socket.destroyed && this.#socket.writableLength > maxBehind;
  }

  attach(kind: SessionKind, isStarter: boolean): void {
    this.#isAttached = true;
    this.#isStarter = isStarter;
    this.send('kind', Buffer.from(kind));
  }

  send(name: FrameName, payload: Uint8Array): void {
    this.write([frame(name, payload)]);
  }

  write(frames: readonly Buffer[]): void {
    if (!this.#socket.writable) return;
    for (const bytes of frames) this.#socket.write(bytes);
    if (this.isBehind && this.#impatience === undefined) this.#lose();
  }

  answer(text: string): void {
    this.send('standing', Buffer.from(text));
    this.end();
  }

  /** The last word. */
  exit(code: number): void {
    this.#isAttached = false;
    this.send('exit', Uint8Array.of(code & 0xff));
    this.end();
  }

  end(): void {
    this.#socket.destroySoon();
  }

  drop(): void {
    this.#socket.destroy();
  }

  /** Drops it unless it takes something meanwhile. */
  #lose(): void {
    const taken = () => this.#socket.bytesWritten - this.#socket.writableLength;
    const before = taken();
    this.#impatience = setTimeout(() => {
      this.#impatience = undefined;
      if (taken() === before) this.drop();
      else if (this.isBehind) this.#lose();
    }, patienceMs);
  }

  /** Whether what it says has to wait. */
  pause(waits: boolean): void {
    if (waits) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }
}
