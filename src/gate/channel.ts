import type { Socket } from 'node:net';

/** The other side is gone, or went while we were busy with it. */
export class ConnectionLost extends Error {}

/** The other side said nothing for too long. */
export class TooSlow extends Error {}

interface Waiter {
  readonly resolve: (bytes: Buffer | undefined) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A socket as something to pull from and push to. Little is read ahead (two reads of 64 KiB at most), so a
 * reader that does not pull slows the sender down. Errors of the socket never escape: they end what is under way.
 */
export class Channel {
  readonly socket: Socket;
  /** Bytes pulled and pushed so far. */
  bytesIn = 0;
  bytesOut = 0;
  #held: Buffer | undefined;
  #waiter: Waiter | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;
  #lost = false;
  #onEnd: (() => void) | undefined;
  #onLost: (() => void) | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => undefined);
    // Flowing, since a paused socket stops and starts its handle at every read. What nobody waits for pauses it.
    socket.on('data', (bytes: Buffer) => {
      this.#held = this.#held === undefined ? bytes : Buffer.concat([this.#held, bytes]);
      if (this.#waiter === undefined) socket.pause();
      else this.#settle();
    });
    socket.on('end', () => {
      this.#ended = true;
      this.#settle();
      this.#onEnd?.();
    });
    socket.on('close', () => {
      this.#lost = true;
      this.#settle();
      this.#onLost?.();
    });
  }

  /** The other side will send no more. */
  get ended(): boolean {
    return this.#ended;
  }

  get lost(): boolean {
    return this.#lost || this.socket.destroyed;
  }

  /** Bytes are here that nobody has pulled. */
  get hasMore(): boolean {
    return this.#held !== undefined || this.socket.readableLength > 0;
  }

  /** Called once the other side has ended its half, if nothing that it sent waits to be read. One at a time. */
  whenEnded(then: (() => void) | undefined): void {
    this.#onEnd = then;
    if (this.#ended) then?.();
  }

  /** Called once the connection is gone. One at a time. */
  whenLost(then: (() => void) | undefined): void {
    this.#onLost = then;
    if (this.lost) then?.();
  }

  /**
   * The next bytes, or `undefined` at the end. One pull at a time: a new one ends the one under way.
   * @param timeoutMs 0 waits for ever.
   * @throws ConnectionLost, TooSlow
   */
  pull(timeoutMs = 0): Promise<Buffer | undefined> {
    const ready = this.#take();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#ended) return Promise.resolve(undefined);
    if (this.lost) return Promise.reject(new ConnectionLost());
    this.#waiter?.reject(new ConnectionLost());
    clearTimeout(this.#timer);
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
      if (timeoutMs > 0) this.hurry(timeoutMs);
    });
  }

  /** Gives the pull under way this long from now on. */
  hurry(timeoutMs: number): void {
    const waiter = this.#waiter;
    if (waiter === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#waiter !== waiter) return;
      this.#waiter = undefined;
      waiter.reject(new TooSlow());
    }, timeoutMs);
  }

  /** Returns bytes that were pulled too far. */
  putBack(bytes: Buffer | undefined): void {
    if (bytes === undefined || bytes.length === 0) return;
    this.#held = this.#held === undefined ? bytes : Buffer.concat([bytes, this.#held]);
    this.bytesIn -= bytes.length;
  }

  /** Sends bytes, and waits only while the other side is behind. @throws ConnectionLost */
  push(pieces: readonly Buffer[]): Promise<void> | undefined {
    const { socket } = this;
    if (this.lost || socket.writableEnded) return Promise.reject(new ConnectionLost());
    if (pieces.length > 1) socket.cork();
    for (const piece of pieces) {
      this.bytesOut += piece.length;
      socket.write(piece);
    }
    if (pieces.length > 1) socket.uncork();
    // What the kernel has taken already does not count, though `write` says that it does.
    return socket.writableLength >= socket.writableHighWaterMark ? this.#drained() : undefined;
  }

  /** Sends a last time; what is still on its way goes out. */
  end(): void {
    if (!this.socket.writableEnded && !this.lost) this.socket.end();
  }

  /** Resolves once what was sent has left, or the connection is gone. */
  flushed(): Promise<void> {
    const { socket } = this;
    if (this.lost || socket.writableFinished) return Promise.resolve();
    return new Promise((resolve) => {
      const settle = () => {
        socket.off('finish', settle);
        socket.off('close', settle);
        resolve();
      };
      socket.on('finish', settle);
      socket.on('close', settle);
    });
  }

  destroy(): void {
    this.socket.destroy();
  }

  #drained(): Promise<void> {
    const { socket } = this;
    return new Promise((resolve, reject) => {
      const settle = () => {
        socket.off('drain', settle);
        socket.off('close', settle);
        if (socket.destroyed) reject(new ConnectionLost());
        else resolve();
      };
      socket.on('drain', settle);
      socket.on('close', settle);
    });
  }

  #take(): Buffer | undefined {
    const bytes = this.#held;
    if (bytes === undefined) return undefined;
    this.#held = undefined;
    this.bytesIn += bytes.length;
    if (this.socket.isPaused()) this.socket.resume();
    return bytes;
  }

  #settle(): void {
    const waiter = this.#waiter;
    if (waiter === undefined) return;
    const bytes = this.#take();
    if (bytes === undefined && !this.#ended && !this.lost) return;
    this.#waiter = undefined;
    clearTimeout(this.#timer);
    if (bytes !== undefined || this.#ended) waiter.resolve(bytes);
    else waiter.reject(new ConnectionLost());
  }
}
