import { createHash } from 'node:crypto';
import { padded } from './tar-header.ts';

/** Numbers kept of each entry: where its headers start, where its data starts, data size, name start, link start. */
const numbersPerEntry = 5;
/** Small values kept of each entry: its type flag, whether its header must be rewritten. */
const marksPerEntry = 2;

/** Another number whenever the form changes, or what an index may hold; one of another number is made anew. */
const magic = Buffer.from('CBTARIX2', 'latin1');
/** Entries, bytes of names, bytes of the archive. */
const countsLength = 3;
const fixedLength = magic.length + countsLength * 8;
const hashLength = 32;
const slash = 0x2f;

/** One entry of a tar archive, without its data. */
export interface TarEntry {
  /** Normalised: no leading slash, no `.`, no `..`, no empty part; the root itself is ''. One character a byte. */
  readonly path: string;
  /** The type flag (`tarTypes`), `\0` already told apart into file and directory. */
  readonly type: string;
  /** A hard link's target, normalised like a path; a symbolic link's as it stands; else ''. */
  readonly link: string;
  /** Where the entry's first header block lies: extended headers that belong to it come first. */
  readonly start: number;
  readonly dataStart: number;
  /** Bytes of data, without the padding. */
  readonly size: number;
  /**
   * The headers cannot be copied as they are, since readers disagree on them: an absolute path, a size where there is no
   * data, a file with a trailing slash.
   */
  readonly irregular: boolean;
}

/**
 * What is where in one tar archive. Entries are kept as columns, about 45 bytes and the two names each, so that images
 * of a million files fit into memory, and so that the whole is written and read without a conversion.
 */
export class TarIndex {
  readonly count: number;
  /** Bytes of the whole archive. */
  readonly archiveSize: number;
  readonly #numbers: Float64Array;
  readonly #marks: Uint8Array;
  readonly #names: Buffer;

  constructor(
    columns: { numbers: Float64Array; marks: Uint8Array; names: Buffer },
    counts: { entries: number; archiveSize: number },
  ) {
    this.count = counts.entries;
    this.archiveSize = counts.archiveSize;
    this.#numbers = columns.numbers;
    this.#marks = columns.marks;
    this.#names = columns.names;
  }

  path(entry: number): string {
    return this.#names.toString('latin1', this.#number(entry, 3), this.#number(entry, 4));
  }

  /** The last part of the path. */
  name(entry: number): string {
    const start = this.#number(entry, 3);
    const end = this.#number(entry, 4);
    // Buffer's own search would go on through the names of all entries before, where this one has no slash.
    let from = end;
    while (from > start && this.#names[from - 1] !== slash) from -= 1;
    // Read anew rather than cut from the path, which would keep the whole of it alive.
    return this.#names.toString('latin1', from, end);
  }

  type(entry: number): string {
    return String.fromCharCode(this.#marks[entry * marksPerEntry] ?? 0);
  }

  link(entry: number): string {
    const end = entry + 1 < this.count ? this.#number(entry + 1, 3) : this.#names.length;
    return this.#names.toString('latin1', this.#number(entry, 4), end);
  }

  start(entry: number): number {
    return this.#number(entry, 0);
  }

  dataStart(entry: number): number {
    return this.#number(entry, 1);
  }

  size(entry: number): number {
    return this.#number(entry, 2);
  }

  /** Where the entry's last block ends. */
  end(entry: number): number {
    return this.#number(entry, 1) + padded(this.#number(entry, 2));
  }

  irregular(entry: number): boolean {
    return this.#marks[entry * marksPerEntry + 1] === 1;
  }

  entry(entry: number): TarEntry {
    return {
      path: this.path(entry),
      type: this.type(entry),
      link: this.link(entry),
      start: this.start(entry),
      dataStart: this.dataStart(entry),
      size: this.size(entry),
      irregular: this.irregular(entry),
    };
  }

  /** The index as the parts of a file, in this host's byte order and with a hash of itself at the end. */
  encode(): Buffer[] {
    const counts = new Float64Array([this.count, this.#names.length, this.archiveSize]);
    const parts = [magic, bytesOf(counts), bytesOf(this.#numbers), bytesOf(this.#marks), this.#names];
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part);
    return [...parts, hash.digest()];
  }

  /** The index in a file that `encode` made; `undefined` when the file is anything else, or half of one. */
  static decode(file: Buffer): TarIndex | undefined {
    const bodyEnd = file.length - hashLength;
    if (bodyEnd < fixedLength || !file.subarray(0, magic.length).equals(magic)) return undefined;
    const counts = floats(file, magic.length, countsLength);
    const [entries = 0, namesLength = 0, archiveSize = 0] = counts;
    if (bodyEnd !== fixedLength + entries * (numbersPerEntry * 8 + marksPerEntry) + namesLength)
      return undefined;
    const hash = createHash('sha256').update(file.subarray(0, bodyEnd)).digest();
    if (!hash.equals(file.subarray(bodyEnd))) return undefined;
    const marksStart = fixedLength + entries * numbersPerEntry * 8;
    const namesStart = marksStart + entries * marksPerEntry;
    return new TarIndex(
      {
        numbers: floats(file, fixedLength, entries * numbersPerEntry),
        marks: file.subarray(marksStart, namesStart),
        names: file.subarray(namesStart, bodyEnd),
      },
      { entries, archiveSize },
    );
  }

  #number(entry: number, column: number): number {
    return this.#numbers[entry * numbersPerEntry + column] ?? 0;
  }
}

/** Collects entries into columns that grow. */
export class TarIndexBuilder {
  #count = 0;
  #numbers = new Float64Array(256 * numbersPerEntry);
  #marks = new Uint8Array(256 * marksPerEntry);
  #names = Buffer.allocUnsafe(16 * 1024);
  #namesLength = 0;

  add(entry: TarEntry): void {
    const at = this.#count * numbersPerEntry;
    if (at === this.#numbers.length) this.#grow();
    this.#numbers[at] = entry.start;
    this.#numbers[at + 1] = entry.dataStart;
    this.#numbers[at + 2] = entry.size;
    this.#numbers[at + 3] = this.#keep(entry.path);
    this.#numbers[at + 4] = this.#keep(entry.link);
    this.#marks[this.#count * marksPerEntry] = entry.type.charCodeAt(0);
    this.#marks[this.#count * marksPerEntry + 1] = entry.irregular ? 1 : 0;
    this.#count += 1;
  }

  build(archiveSize: number): TarIndex {
    return new TarIndex(
      {
        numbers: this.#numbers.slice(0, this.#count * numbersPerEntry),
        marks: this.#marks.slice(0, this.#count * marksPerEntry),
        names: Buffer.from(this.#names.subarray(0, this.#namesLength)),
      },
      { entries: this.#count, archiveSize },
    );
  }

  /** @returns where the name starts. */
  #keep(name: string): number {
    const start = this.#namesLength;
    if (start + name.length > this.#names.length) {
      const names = Buffer.allocUnsafe((start + name.length) * 2);
      this.#names.copy(names, 0, 0, start);
      this.#names = names;
    }
    this.#names.write(name, start, 'latin1');
    this.#namesLength = start + name.length;
    return start;
  }

  #grow(): void {
    const numbers = new Float64Array(this.#numbers.length * 2);
    numbers.set(this.#numbers);
    this.#numbers = numbers;
    const marks = new Uint8Array(this.#marks.length * 2);
    marks.set(this.#marks);
    this.#marks = marks;
  }
}

function bytesOf(array: Float64Array | Uint8Array): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

/** A view where the bytes happen to be aligned, a copy elsewhere. */
function floats(file: Buffer, at: number, length: number): Float64Array {
  const start = file.byteOffset + at;
  return start % 8 === 0
    ? new Float64Array(file.buffer, start, length)
    : new Float64Array(file.buffer.slice(start, start + length * 8));
}
