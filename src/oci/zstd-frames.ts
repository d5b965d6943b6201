import { LayerUndecodable } from './errors.ts';

const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50;

/** What the collected bytes of a fixed-size field are. */
type Field = 'magic' | 'skippable-size' | 'descriptor' | 'header' | 'block' | 'checksum';
const fieldLength = { magic: 4, 'skippable-size': 4, descriptor: 1, block: 3, checksum: 4 } as const;

/** Whether four bytes (little-endian) open a zstd frame of either kind (RFC 8878 §3.1). */
export function opensZstdFrame(word: number): boolean {
  return word === frameMagic || isSkippable(word);
}

/**
 * Cuts a zstd stream where its frames end. Node's decoder stops at the end of the first frame when more input follows in
 * the same write, and tells nobody; layers in podman's zstd:chunked format have one frame a file, and skippable ones.
 */
export class ZstdFrames {
  #field: Field = 'magic';
  readonly #bytes = Buffer.alloc(16);
  #length = 0;
  #needed = 4;
  /** Bytes to let pass before the next field. */
  #pass = 0;
  #skipping = false;
  #lastBlock = false;
  #hasChecksum = false;

  /** Pieces for the decoder: none reaches across the end of a frame, skippable frames are left out. */
  *split(chunk: Buffer): Generator<Buffer> {
    let at = 0;
    let from = 0;
    while (at < chunk.length) {
      if (this.#pass > 0) {
        const passed = Math.min(this.#pass, chunk.length - at);
        this.#pass -= passed;
        at += passed;
      } else {
        const atMagic = this.#field === 'magic';
        const taken = Math.min(this.#needed - this.#length, chunk.length - at);
        chunk.copy(this.#bytes, this.#length, at, at + taken);
        this.#length += taken;
        at += taken;
        if (this.#length < this.#needed) continue;
        this.#understand();
        if (atMagic && !this.#skipping) {
          yield this.#bytes.subarray(0, 4);
          from = at;
        }
      }
      if (this.#pass > 0 || this.#field !== 'magic' || this.#length > 0) continue;
      if (!this.#skipping) yield chunk.subarray(from, at);
      this.#skipping = false;
      from = at;
    }
    const inside = this.#pass > 0 || this.#field !== 'magic';
    if (inside && !this.#skipping && from < at) yield chunk.subarray(from, at);
  }

  /** @throws LayerUndecodable when the stream ends inside a frame. */
  end(): void {
    if (this.#field !== 'magic' || this.#length > 0 || this.#pass > 0) throw broken('unexpected end of file');
  }

  #understand(): void {
    const bytes = this.#bytes;
    this.#length = 0;
    switch (this.#field) {
      case 'magic': {
        const word = bytes.readUInt32LE(0);
        if (!opensZstdFrame(word)) throw broken('unknown frame');
        this.#skipping = isSkippable(word);
        this.#expect(this.#skipping ? 'skippable-size' : 'descriptor');
        break;
      }
      case 'skippable-size':
        this.#pass = bytes.readUInt32LE(0);
        this.#expect('magic');
        break;
      case 'descriptor': {
        const descriptor = bytes[0] ?? 0;
        const singleSegment = (descriptor & 0x20) !== 0;
        this.#hasChecksum = (descriptor & 0x04) !== 0;
        const contentSize = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
        const dictionaryId = [0, 1, 2, 4][descriptor & 0x03] ?? 0;
        const rest = (singleSegment ? 0 : 1) + dictionaryId + contentSize;
        if (rest === 0) this.#expect('block');
        else this.#expect('header', rest);
        break;
      }
      case 'header':
        this.#expect('block');
        break;
      case 'block': {
        const header = bytes.readUIntLE(0, 3);
        this.#lastBlock = (header & 1) === 1;
        const isRun = ((header >> 1) & 3) === 1;
        this.#pass = isRun ? 1 : header >> 3;
        this.#expect(this.#lastBlock ? (this.#hasChecksum ? 'checksum' : 'magic') : 'block');
        break;
      }
      case 'checksum':
        this.#expect('magic');
    }
  }

  #expect(field: 'header', length: number): void;
  #expect(field: Exclude<Field, 'header'>): void;
  #expect(field: Field, length = 0): void {
    this.#field = field;
    this.#needed = field === 'header' ? length : fieldLength[field];
  }
}

function isSkippable(word: number): boolean {
  return (word & 0xfffffff0) >>> 0 === skippableMagic;
}

function broken(reason: string): LayerUndecodable {
  return new LayerUndecodable({ format: 'zstd', reason });
}
