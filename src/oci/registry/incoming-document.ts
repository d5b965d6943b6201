import { Refusal } from './refusal.ts';

/** A configuration, an attestation or a manifest larger than this is refused, in bytes. */
export const documentLimit = 4 << 20;
/** All documents of a push together, those that are still on their way included, in bytes. */
const documentsLimit = 8 * documentLimit;
const smallest = 4096;

/** The memory that the documents of one push may take. */
export class DocumentRoom {
  #left = documentsLimit;

  /** @throws Refusal when there is not as much left. */
  take(bytes: number): void {
    if (bytes > this.#left) {
      throw new Refusal(413, 'SIZE_INVALID', 'too many documents in one push', { Connection: 'close' });
    }
    this.#left -= bytes;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }
}

/** A document that is collected in memory, in room of its push. */
export class IncomingDocument {
  readonly #room: DocumentRoom;
  /** Grows in large steps: a list of the pieces could take many times what is in them. */
  #buffer: Buffer = Buffer.alloc(0);
  #length = 0;

  constructor(room: DocumentRoom) {
    this.#room = room;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /**
   * Takes a copy of the chunk.
   * @throws Refusal when the document or all of them get too large.
   */
  append(chunk: Uint8Array): void {
    const length = this.#length + chunk.length;
    if (length > documentLimit) {
      throw new Refusal(413, 'SIZE_INVALID', 'the document is too large', { Connection: 'close' });
    }
    if (length > this.#buffer.length) {
      const size = Math.min(documentLimit, Math.max(smallest, 2 * length));
      this.#room.take(size - this.#buffer.length);
      const grown = Buffer.allocUnsafeSlow(size);
      this.bytes.copy(grown);
      this.#buffer = grown;
    }
    this.#buffer.set(chunk, this.#length);
    this.#length = length;
  }

  /** The bytes, to be kept until the push is over; their room stays taken. */
  keep(): Buffer {
    const kept = Buffer.from(this.bytes);
    this.#room.give(this.#buffer.length - kept.length);
    this.#clear();
    return kept;
  }

  /** Lets go of the bytes and of their room. Does nothing once they are kept. */
  drop(): void {
    this.#room.give(this.#buffer.length);
    this.#clear();
  }

  #clear(): void {
    this.#buffer = Buffer.alloc(0);
    this.#length = 0;
  }
}
