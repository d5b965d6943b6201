/** Something with bytes at positions. */
export interface ByteSource {
  /** Fills `target` with the bytes at `position`; throws where there are none. */
  readInto(target: Buffer, position: number): Promise<void>;
}

/** The layer number under which a segment's bytes are our own. */
const literalLayer = -1;
const numbersPerSegment = 3;

/** Bytes handed out at a time. */
const bufferSize = 512 * 1024;
/** Pieces up to this size are read together with their neighbours. */
const smallPiece = 64 * 1024;
/** Bytes between two pieces that it is cheaper to read along than to read around. */
const gapLimit = 16 * 1024;
const windowSize = 256 * 1024;

/** A sequence of byte ranges of layers and of bytes of our own, being put together. */
export class SegmentListBuilder {
  #numbers = new Float64Array(1024 * numbersPerSegment);
  #count = 0;
  #size = 0;
  readonly #literals: Buffer[] = [];
  #literalsLength = 0;

  /** Appends the bytes `start` (inclusive) to `end` (exclusive) of a layer. */
  range(layer: number, start: number, end: number): void {
    this.#append(layer, start, end - start);
  }

  literal(bytes: Buffer): void {
    this.#literals.push(bytes);
    this.#append(literalLayer, this.#literalsLength, bytes.length);
    this.#literalsLength += bytes.length;
  }

  build(layers: readonly ByteSource[]): SegmentList {
    const numbers = this.#numbers.slice(0, this.#count * numbersPerSegment);
    return new SegmentList(numbers, Buffer.concat(this.#literals), layers, this.#size);
  }

  #append(layer: number, offset: number, length: number): void {
    if (length === 0) return;
    const last = (this.#count - 1) * numbersPerSegment;
    const [at = 0, lastLayer, lastOffset = 0] = this.#numbers.subarray(
      Math.max(last, 0),
      last + numbersPerSegment,
    );
    const continues = last >= 0 && lastLayer === layer && lastOffset + (this.#size - at) === offset;
    if (!continues) {
      const next = this.#count * numbersPerSegment;
      if (next === this.#numbers.length) {
        const grown = new Float64Array(this.#numbers.length * 2);
        grown.set(this.#numbers);
        this.#numbers = grown;
      }
      this.#numbers[next] = this.#size;
      this.#numbers[next + 1] = layer;
      this.#numbers[next + 2] = offset;
      this.#count += 1;
    }
    this.#size += length;
  }
}

/** A byte sequence that lies scattered over layers and is never put together anywhere. */
export class SegmentList {
  /** Bytes. */
  readonly size: number;
  /** Per segment: where it starts in the whole, its layer, where it starts in that. */
  readonly #numbers: Float64Array;
  readonly #literals: Buffer;
  readonly #layers: readonly ByteSource[];

  constructor(numbers: Float64Array, literals: Buffer, layers: readonly ByteSource[], size: number) {
    this.#numbers = numbers;
    this.#literals = literals;
    this.#layers = layers;
    this.size = size;
  }

  get count(): number {
    return this.#numbers.length / numbersPerSegment;
  }

  /**
   * Yields the bytes `start` (inclusive) to `end` (exclusive). One buffer is filled while the consumer has the other, so
   * a yielded one is good until the next is asked for.
   * @throws LayerDamaged
   */
  async *read(start: number, end: number): AsyncGenerator<Buffer> {
    if (start < 0 || end > this.size || start > end) {
      throw new RangeError(`bytes ${start} to ${end} of ${this.size}`);
    }
    const length = Math.min(bufferSize, end - start);
    if (length === 0) return;
    const window = new Window();
    let coming: Buffer = Buffer.allocUnsafeSlow(length);
    let spare: Buffer = end - start > length ? Buffer.allocUnsafeSlow(length) : coming;
    let filled = this.#fill(coming.subarray(0, length), start, window);
    try {
      for (let at = start; at < end;) {
        await filled;
        const ready = coming.subarray(0, Math.min(bufferSize, end - at));
        at += ready.length;
        [coming, spare] = [spare, coming];
        if (at < end) {
          filled = this.#fill(coming.subarray(0, Math.min(bufferSize, end - at)), at, window);
          // It is awaited in the next turn, or below when there is none.
          filled.catch(() => undefined);
        }
        yield ready;
      }
    } finally {
      // The layers may be closed once we are gone.
      await filled.catch(() => undefined);
    }
  }

  /** Fills `target` with the bytes at `position`. */
  async #fill(target: Buffer, position: number, window: Window): Promise<void> {
    let segment = this.#segmentAt(position);
    for (let done = 0; done < target.length; segment++) {
      const at = position + done;
      const length = Math.min(this.#endOf(segment) - at, target.length - done);
      const piece = target.subarray(done, done + length);
      const layer = this.#layerOf(segment);
      const offset = this.#offsetOf(segment) + (at - this.#startOf(segment));
      if (layer === literalLayer) this.#literals.copy(piece, 0, offset, offset + length);
      else if (length > smallPiece) await this.#open(layer).readInto(piece, offset);
      else {
        if (!window.covers(layer, offset, length)) {
          const reach = this.#reach(segment, offset + length, offset + windowSize);
          await window.load(this.#open(layer), layer, offset, reach);
        }
        window.copy(piece, offset);
      }
      done += length;
    }
  }

  /** How far in its layer it pays to read for the sake of the segments that follow. */
  #reach(segment: number, from: number, limit: number): number {
    const layer = this.#layerOf(segment);
    let reach = from;
    for (let next = segment + 1; next < this.count; next++) {
      if (this.#layerOf(next) === literalLayer) continue;
      const offset = this.#offsetOf(next);
      const end = offset + (this.#endOf(next) - this.#startOf(next));
      const isNeighbour = this.#layerOf(next) === layer && offset >= reach && offset - reach <= gapLimit;
      if (!isNeighbour || end - offset > smallPiece || end > limit) return reach;
      reach = end;
    }
    return reach;
  }

  #segmentAt(position: number): number {
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#startOf(middle) <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #startOf(segment: number): number {
    return this.#numbers[segment * numbersPerSegment] ?? this.size;
  }

  #endOf(segment: number): number {
    return this.#startOf(segment + 1);
  }

  #layerOf(segment: number): number {
    return this.#numbers[segment * numbersPerSegment + 1] ?? literalLayer;
  }

  #offsetOf(segment: number): number {
    return this.#numbers[segment * numbersPerSegment + 2] ?? 0;
  }

  #open(layer: number): ByteSource {
    const open = this.#layers[layer];
    if (open === undefined) throw new RangeError(`no layer ${layer}`);
    return open;
  }
}

/** Part of one layer, read in one go for several small pieces. */
class Window {
  #bytes: Buffer | undefined;
  #layer = literalLayer;
  #start = 0;
  #end = 0;

  covers(layer: number, offset: number, length: number): boolean {
    return layer === this.#layer && offset >= this.#start && offset + length <= this.#end;
  }

  async load(layer: ByteSource, number: number, start: number, end: number): Promise<void> {
    this.#bytes ??= Buffer.allocUnsafeSlow(windowSize);
    this.#layer = literalLayer;
    await layer.readInto(this.#bytes.subarray(0, end - start), start);
    this.#layer = number;
    this.#start = start;
    this.#end = end;
  }

  copy(target: Buffer, offset: number): void {
    const from = offset - this.#start;
    this.#bytes?.copy(target, 0, from, from + target.length);
  }
}
