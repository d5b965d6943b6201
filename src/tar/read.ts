import { TarMalformed } from '../oci/errors.ts';
import {
  blockSize,
  carriesData,
  field,
  isZeroBlock,
  padded,
  parseNumber,
  parseTarHeader,
  type TarHeader,
  tarTypes,
} from '../oci/tar-header.ts';
import { parsePaxRecords } from '../oci/tar-pax.ts';
import type { ByteReader } from './byte-reader.ts';
import { refuse } from './path.ts';

/** An entry of an archive that is being read. Names are byte strings (latin1), as they stand in the archive. */
export interface ReadEntry {
  readonly path: string;
  /** As `tarTypes` has them. */
  readonly type: string;
  readonly link: string;
  /** All bits, as written. */
  readonly mode: number;
  readonly size: number;
  /** The data. What is left unread of it is skipped when the next entry is asked for. */
  readonly body: AsyncIterable<Buffer>;
}

/** A name in an extended header cannot be longer than a path; the rest is room for attributes. */
const extendedLimit = 1024 * 1024;
/** Consecutive extended headers of one entry: path, link and attributes are three. */
const extendedInARow = 8;

/**
 * Reads a tar archive (ustar, pax, GNU long names) of unknown origin, entry by entry.
 * @throws ArchiveRefused
 */
export async function* readTar(reader: ByteReader): AsyncGenerator<ReadEntry, void, void> {
  const laid = new Overlay();
  for (;;) {
    const block = await reader.take(blockSize);
    if (block.length === 0 && !laid.pending) return;
    if (block.length < blockSize) throw refuse('truncated');
    if (isZeroBlock(block, 0)) {
      if (laid.pending) throw refuse('truncated');
      // The sender must not be left waiting with what follows the end.
      await reader.skip(Number.MAX_SAFE_INTEGER);
      return;
    }
    const header = parsed(() => parseTarHeader(block, 0, 0));
    if (isExtended(header.type)) {
      if (header.size > extendedLimit || laid.inARow >= extendedInARow) throw refuse('header-too-large');
      const data = await reader.take(padded(header.size));
      if (data.length < padded(header.size)) throw refuse('truncated');
      laid.add(header.type, data.subarray(0, header.size));
      continue;
    }
    const { path, link, size } = laid.over(header);
    const dataSize = carriesData(header.type) ? size : 0;
    const body = new Body(reader, dataSize);
    yield {
      path,
      type:
        header.type === tarTypes.oldFile
          ? path.endsWith('/')
            ? tarTypes.directory
            : tarTypes.file
          : header.type,
      link,
      mode: parseNumber(block, field.mode, 8) ?? 0o644,
      size: dataSize,
      body,
    };
    await body.finish();
  }
}

function isExtended(type: string): boolean {
  return (
    type === tarTypes.pax ||
    type === tarTypes.paxGlobal ||
    type === tarTypes.gnuLongName ||
    type === tarTypes.gnuLongLink
  );
}

/** One entry's data; counts what was taken of it, so that the next header is found. */
class Body implements AsyncIterable<Buffer> {
  readonly #reader: ByteReader;
  readonly #size: number;
  #left: number;

  constructor(reader: ByteReader, size: number) {
    this.#reader = reader;
    this.#size = size;
    this.#left = size;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, void> {
    for await (const part of this.#reader.body(this.#left)) {
      this.#left -= part.length;
      yield part;
    }
    if (this.#left > 0) throw refuse('truncated');
  }

  async finish(): Promise<void> {
    const rest = this.#left + padded(this.#size) - this.#size;
    if ((await this.#reader.skip(rest)) < rest) throw refuse('truncated');
  }
}

/** What extended headers say about the next entry. */
class Overlay {
  inARow = 0;
  #path: string | undefined;
  #link: string | undefined;
  #size: number | undefined;

  get pending(): boolean {
    return this.inARow > 0;
  }

  add(type: string, data: Buffer): void {
    this.inARow += 1;
    // A global header is about all that follows; what it may say there (a commit's id, times) is not used.
    if (type === tarTypes.paxGlobal) return;
    if (type === tarTypes.gnuLongName) this.#path = untilNul(data);
    else if (type === tarTypes.gnuLongLink) this.#link = untilNul(data);
    else for (const { key, value } of parsed(() => parsePaxRecords(data, 0))) this.#record(key, value);
  }

  over(header: TarHeader): { path: string; link: string; size: number } {
    const laid = {
      path: this.#path ?? header.name,
      link: this.#link ?? header.link,
      size: this.#size ?? header.size,
    };
    this.inARow = 0;
    this.#path = this.#link = this.#size = undefined;
    return laid;
  }

  #record(key: string, value: string): void {
    if (key === 'path') this.#path = value;
    else if (key === 'linkpath') this.#link = value;
    else if (key.startsWith('GNU.sparse.')) throw refuse('sparse', this.#path);
    else if (key === 'size') {
      const size = Number(value);
      if (!/^[0-9]{1,16}$/.test(value) || !Number.isSafeInteger(size)) throw refuse('malformed', this.#path);
      this.#size = size;
    }
  }
}

function untilNul(data: Buffer): string {
  const end = data.indexOf(0);
  return data.toString('latin1', 0, end === -1 ? data.length : end);
}

function parsed<Result>(parse: () => Result): Result {
  try {
    return parse();
  } catch (error) {
    throw error instanceof TarMalformed ? refuse('malformed') : error;
  }
}
