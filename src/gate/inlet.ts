/** Read at once from a host. More saves nothing; a connection that receives less touches only the pages it fills. */
const readBytes = 256 << 10;
/** Buffers kept for the next connections. */
const maxSpare = 8;

/** What connections to hosts read into. One that is closed gives its buffer to the next. */
export class Buffers {
  readonly #spare: Buffer[] = [];

  take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(readBytes);
  }

  /** Nobody may hold a piece of it any more. */
  giveBack(buffer: Buffer): void {
    if (this.#spare.length < maxSpare) this.#spare.push(buffer);
  }
}

/**
 * The reading end of a connection, for the `onread` of net.connect: everything is read into one buffer, so that passing
 * bytes on makes no garbage. What comes before somebody receives is kept.
 */
export class Inlet {
  readonly buffer: Buffer;
  /**
   * Takes what came. The bytes are lent: they change with the next read, which comes unless the answer is false. Then
   * whoever said so starts the socket again.
   */
  receive: ((bytes: Buffer) => boolean) | undefined;
  /** A piece of the buffer is on its way to somebody else. */
  isLent = false;
  #early: Buffer | undefined;

  constructor(buffer: Buffer) {
    this.buffer = buffer;
  }

  /** net calls it without `this`. */
  readonly callback = (length: number): boolean => {
    const bytes = this.buffer.subarray(0, length);
    if (this.receive !== undefined) return this.receive(bytes);
    this.#early = Buffer.from(bytes);
    return false;
  };

  /** What came before anybody received; the socket stands still if there is something. */
  takeEarly(): Buffer | undefined {
    const early = this.#early;
    this.#early = undefined;
    return early;
  }
}

/**
 * Frees what a socket has read, once it is written: left to the garbage collector, which sees a small object, the 64 KiB
 * behind each read add up to 100 MB. What shares its memory with anything else is left alone.
 */
export function free(bytes: Buffer): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && bytes.length > 0 && bytes.length === buffer.byteLength)
    buffer.transfer(0);
}
