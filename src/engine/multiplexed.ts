import { Transform, type TransformCallback } from 'node:stream';

/**
 * Takes apart what an engine sends of a container or program without a terminal: frames of 8 bytes, of which the first
 * says which stream (2 is standard error) and the last four how many bytes follow, big-endian (moby,
 * pkg/stdcopy/stdcopy.go). What is of `main` comes out, the rest is handed to `other`; without `other` all comes out, in
 * order.
 */
export class Demultiplexer extends Transform {
  readonly #other: ((bytes: Buffer) => void) | undefined;
  #header = Buffer.alloc(0);
  #left = 0;
  #stream = 1;

  constructor(other?: (bytes: Buffer) => void) {
    super();
    this.#other = other;
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#left === 0) {
        const wanted = 8 - this.#header.length;
        this.#header = Buffer.concat([this.#header, rest.subarray(0, wanted)]);
        rest = rest.subarray(wanted);
        if (this.#header.length < 8) break;
        this.#stream = this.#header[0] ?? 0;
        this.#left = this.#header.readUInt32BE(4);
        this.#header = Buffer.alloc(0);
        continue;
      }
      const piece = rest.subarray(0, this.#left);
      this.#left -= piece.length;
      rest = rest.subarray(piece.length);
      if (this.#stream === 2 && this.#other !== undefined) this.#other(piece);
      else this.push(piece);
    }
    done();
  }

  /** Whether the last frame was whole. */
  get isWhole(): boolean {
    return this.#left === 0 && this.#header.length === 0;
  }
}
