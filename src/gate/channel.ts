import type { Socket } from 'node:net';
import { free, type Inlet } from './inlet.ts';

/** The other side is gone, or went while we were busy with it. */
export class ConnectionLost extends Error {}

/** The other side said nothing for too long. */
export class TooSlow extends Error {}

/** The side that bytes were passed on to is gone. */
export class ReceiverGone extends Error {}

export interface PourOptions {
  /** Stop after so many bytes; without it, at the end. */
  readonly most?: number;
  /** How long the next bytes may take, asked whenever they are waited for. 0 is for ever. */
  readonly timeoutMs: () => number;
  readonly onBytes?: (n: number) => void;
}

/** Who wants what comes next: the next bytes, or all of them as they come. */
interface Want {
  /** Whether more may come at once. `isLent`: the bytes change with the next read. */
  readonly take: (bytes: Buffer, isLent: boolean) => boolean;
  readonly end: () => void;
  readonly fail: (error: Error) => void;
  /** It waits for somebody else, and will look itself for what happened meanwhile. */
  isBusy: boolean;
}

/**
 * A socket as something to pull from, to pour out, and to push to. Little is read ahead (two reads at most), so a
 * reader that does not take slows the sender down. Errors of the socket never escape: they end what is under way.
 */
export class Channel {
  readonly socket: Socket;
  /** Bytes taken and pushed so far. */
  bytesIn = 0;
  bytesOut = 0;
  readonly #inlet: Inlet | undefined;
  #held: Buffer | undefined;
  #want: Want | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerMs = 0;
  #isStopped = false;
  #ended = false;
  #lost = false;
  #onEnd: (() => void) | undefined;
  #onLost: (() => void) | undefined;

  /** @param inlet what the socket reads into, if it was connected with one. */
  constructor(socket: Socket, inlet?: Inlet) {
    this.socket = socket;
    this.#inlet = inlet;
    socket.on('error', () => undefined);
    if (inlet === undefined) {
      // Flowing, since a paused socket stops and starts its handle at every read. What nobody waits for pauses it.
      socket.on('data', (bytes: Buffer) => {
        if (this.#receive(bytes, false)) return;
        this.#isStopped = true;
        socket.pause();
      });
    } else {
      inlet.receive = (bytes) => {
        this.#isStopped = !this.#receive(bytes, true);
        return !this.#isStopped;
      };
      this.#held = inlet.takeEarly();
      this.#isStopped = this.#held !== undefined;
    }
    socket.on('end', () => {
      this.#ended = true;
      if (this.#waits) this.#want?.end();
      this.#onEnd?.();
    });
    socket.on('close', () => {
      this.#lost = true;
      if (this.#waits) this.#want?.fail(new ConnectionLost());
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

  /** Bytes are here that nobody has taken. */
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
   * The next bytes, or `undefined` at the end. One pull or pour at a time: a new one ends the one under way.
   * @param timeoutMs 0 waits for ever.
   * @throws ConnectionLost, TooSlow
   */
  pull(timeoutMs = 0): Promise<Buffer | undefined> {
    const ready = this.#takeHeld();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#ended) return Promise.resolve(undefined);
    if (this.lost) return Promise.reject(new ConnectionLost());
    return new Promise((resolve, reject) => {
      const want: Want = {
        take: (bytes, isLent) => {
          this.#finish(want);
          this.bytesIn += bytes.length;
          resolve(isLent ? Buffer.from(bytes) : bytes);
          return true;
        },
        end: () => {
          this.#finish(want);
          resolve(undefined);
        },
        fail: (error) => {
          this.#finish(want);
          reject(error);
        },
        isBusy: false,
      };
      this.#begin(want);
      this.#arm(timeoutMs);
      this.#go();
    });
  }

  /**
   * Passes on what comes, at the pace of the slower side, without a turn of its own for each read.
   * @returns whether the other side has ended; if not, `most` bytes have gone.
   * @throws ConnectionLost, TooSlow, ReceiverGone
   */
  pour(
    to: Channel,
    { most = Infinity, timeoutMs, onBytes }: PourOptions,
  ): Promise<{ readonly ended: boolean }> {
    const sink = to.socket;
    let left = most;
    /** Ours, and on its way. */
    let last: Buffer | undefined;
    return new Promise((resolve, reject) => {
      const finish = () => {
        sink.off('close', onSinkClose);
        this.#finish(want);
      };
      const onSinkClose = () => want.fail(new ReceiverGone());
      const onWritten = () => {
        if (sink.writableLength > 0) return;
        if (last !== undefined) free(last);
        last = undefined;
        if (this.#inlet !== undefined) this.#inlet.isLent = false;
        if (want.isBusy && this.#want === want) next();
      };
      const want: Want = {
        take: (bytes, isLent) => {
          const piece = bytes.length > left ? bytes.subarray(0, left) : bytes;
          if (piece !== bytes) this.#hold(bytes.subarray(left), isLent);
          left -= piece.length;
          this.bytesIn += piece.length;
          to.bytesOut += piece.length;
          onBytes?.(piece.length);
          sink.write(piece, onWritten);
          // What the kernel has taken already does not count, though `write` says that it does.
          const pending = sink.writableLength;
          if (!isLent && pending === 0) free(piece);
          else if (!isLent) last = piece;
          else if (this.#inlet !== undefined) this.#inlet.isLent = pending > 0;
          if (left > 0 && pending < (isLent ? 1 : sink.writableHighWaterMark)) {
            this.#arm(timeoutMs());
            return true;
          }
          // The receiver is behind, which is not the sender's fault.
          want.isBusy = true;
          this.#arm(0);
          onWritten();
          return this.#want !== want && this.#held === undefined;
        },
        end: () => {
          finish();
          resolve({ ended: true });
        },
        fail: (error) => {
          finish();
          reject(error);
        },
        isBusy: false,
      };
      const next = () => {
        want.isBusy = false;
        if (left === 0) {
          finish();
          if (this.#held === undefined) this.#go();
          resolve({ ended: false });
          return;
        }
        const held = this.#held;
        this.#held = undefined;
        if (held !== undefined && !want.take(held, false)) return;
        if (this.#ended) want.end();
        else if (this.lost) want.fail(new ConnectionLost());
        else {
          this.#arm(timeoutMs());
          this.#go();
        }
      };
      this.#begin(want);
      sink.on('close', onSinkClose);
      if (to.lost || sink.writableEnded) want.fail(new ReceiverGone());
      else next();
    });
  }

  /** Gives what is under way this long from now on, if it waits for the other side. */
  hurry(timeoutMs: number): void {
    if (this.#want !== undefined && !this.#want.isBusy) this.#arm(timeoutMs);
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

  /** Somebody wants what comes, and has all that came. */
  get #waits(): boolean {
    return this.#held === undefined && this.#want?.isBusy === false;
  }

  /** Whether more may come at once. */
  #receive(bytes: Buffer, isLent: boolean): boolean {
    if (this.#want !== undefined && this.#held === undefined) return this.#want.take(bytes, isLent);
    this.#hold(bytes, isLent);
    return false;
  }

  #hold(bytes: Buffer, isLent: boolean): void {
    if (this.#held !== undefined) this.#held = Buffer.concat([this.#held, bytes]);
    else this.#held = isLent ? Buffer.from(bytes) : bytes;
  }

  #takeHeld(): Buffer | undefined {
    const bytes = this.#held;
    if (bytes === undefined) return undefined;
    this.#held = undefined;
    this.bytesIn += bytes.length;
    this.#go();
    return bytes;
  }

  /** Starts to read again. */
  #go(): void {
    if (!this.#isStopped) return;
    this.#isStopped = false;
    this.socket.resume();
  }

  #begin(want: Want): void {
    const before = this.#want;
    this.#want = want;
    before?.fail(new ConnectionLost());
  }

  #finish(want: Want): void {
    if (this.#want !== want) return;
    this.#want = undefined;
    this.#arm(0);
  }

  /** From now on the other side has so long. 0 is for ever. */
  #arm(timeoutMs: number): void {
    if (this.#timer !== undefined && this.#timerMs === timeoutMs) {
      this.#timer.refresh();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (timeoutMs <= 0) return;
    this.#timerMs = timeoutMs;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#want?.fail(new TooSlow());
    }, timeoutMs);
  }
}
