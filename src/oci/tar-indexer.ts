import { PathEscapes, TarMalformed, TarUnsupported } from './errors.ts';
import { pathLimit, pathTooLong, requireHoldablePath } from './path-limits.ts';
import {
  blockSize,
  carriesData,
  isZeroBlock,
  padded,
  parseTarHeader,
  type TarHeader,
  tarTypes,
} from './tar-header.ts';
import { type TarIndex, TarIndexBuilder } from './tar-index.ts';
import { parsePaxRecords } from './tar-pax.ts';

/** The most a pax header or a GNU long name may hold; Go's archive/tar, which every engine reads with, has the same. */
const metadataLimit = 1024 * 1024;

/** What extended headers before an entry say about it. */
interface Extended {
  path?: string;
  link?: string;
  size?: number;
}

/** An extended header that is being collected; `padding` bytes follow its data. */
interface Metadata {
  readonly type: string;
  readonly data: Buffer;
  length: number;
  readonly padding: number;
  readonly offset: number;
}

/**
 * Indexes a tar archive while it streams by: ustar, GNU and pax, in chunks of any size. Reads as Go's archive/tar does,
 * because that is what every engine unpacks with; what readers disagree on is refused or marked `irregular`.
 */
export class TarIndexer {
  readonly #builder = new TarIndexBuilder();
  /** Bytes taken so far; the place in the archive of whatever comes next. */
  #offset = 0;
  /** Bytes of the current entry's data and padding that are still to come. */
  #skip = 0;
  /** A header block that arrived in pieces. */
  readonly #block = Buffer.alloc(blockSize);
  #blockLength = 0;
  #metadata: Metadata | undefined;
  #extended: Extended = {};
  /** The types of the extended headers met since the last entry. */
  #extendedTypes = '';
  /** Where the first extended header of the coming entry lies. */
  #groupStart: number | undefined;
  #zeroBlocks = 0;
  #trailing = false;

  /** @throws TarMalformed, TarUnsupported, PathEscapes, PathTooLong */
  write(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      const left = chunk.length - at;
      let taken: number;
      if (this.#zeroBlocks === 2) taken = this.#pad(chunk, at);
      else if (this.#metadata !== undefined) taken = this.#collect(this.#metadata, chunk, at);
      else if (this.#skip > 0) {
        taken = Math.min(left, this.#skip);
        this.#skip -= taken;
        this.#offset += taken;
      } else if (this.#blockLength === 0 && left >= blockSize) {
        taken = blockSize;
        this.#header(chunk, at);
      } else {
        taken = Math.min(left, blockSize - this.#blockLength);
        chunk.copy(this.#block, this.#blockLength, at, at + taken);
        this.#blockLength += taken;
        if (this.#blockLength === blockSize) {
          this.#blockLength = 0;
          this.#header(this.#block, 0);
        }
      }
      at += taken;
    }
  }

  /**
   * Ends the archive. One that nobody vouches for by a digest must close with its end marker and zeros only, since a
   * stream that broke off looks like one without. Where a digest proves the bytes complete, a missing marker is how
   * its maker wrote it, and engines take it.
   * @throws TarMalformed
   */
  end(options: { vouched: boolean }): TarIndex {
    const cut = this.#skip > 0 || this.#blockLength > 0 || this.#metadata !== undefined;
    if (cut || this.#groupStart !== undefined) {
      throw new TarMalformed({ reason: 'cut short inside an entry', offset: this.#offset });
    }
    if (!options.vouched && this.#zeroBlocks < 2) {
      throw new TarMalformed({ reason: 'cut short: no end of archive', offset: this.#offset });
    }
    if (!options.vouched && this.#trailing) {
      throw new TarMalformed({ reason: 'data after the end of the archive', offset: this.#offset });
    }
    return this.#builder.build(this.#offset);
  }

  #header(bytes: Buffer, at: number): void {
    const offset = this.#offset;
    this.#offset += blockSize;
    if (isZeroBlock(bytes, at)) {
      if (this.#groupStart !== undefined) {
        throw new TarMalformed({ reason: 'extended header without an entry', offset });
      }
      this.#zeroBlocks += 1;
      return;
    }
    if (this.#zeroBlocks > 0) throw new TarMalformed({ reason: 'a lone zero block', offset });
    const header = parseTarHeader(bytes, at, offset);
    switch (header.type) {
      case tarTypes.pax:
      case tarTypes.gnuLongName:
      case tarTypes.gnuLongLink:
        if (this.#extendedTypes.includes(header.type)) {
          throw new TarMalformed({ reason: 'two extended headers of one kind', offset });
        }
        this.#extendedTypes += header.type;
        this.#groupStart ??= offset;
        this.#expectMetadata(header, offset);
        break;
      case tarTypes.paxGlobal:
        if (this.#groupStart !== undefined) {
          throw new TarMalformed({ reason: 'global header between an entry and its own', offset });
        }
        this.#expectMetadata(header, offset);
        break;
      default:
        this.#entry(header, offset);
    }
  }

  #entry(header: TarHeader, offset: number): void {
    const extended = this.#extended;
    const rawPath = extended.path ?? header.name;
    if (header.type === tarTypes.gnuSparse)
      throw new TarUnsupported({ feature: 'sparse file', path: rawPath });
    const slash = rawPath.endsWith('/');
    const type = header.type !== tarTypes.oldFile ? header.type : slash ? tarTypes.directory : tarTypes.file;
    const path = normalisePath(rawPath);
    requireHoldablePath(path);
    if (path === '' && type !== tarTypes.directory) {
      throw new TarMalformed({ reason: 'entry without a name', offset });
    }
    const rawLink = extended.link ?? header.link;
    const isHardlink = type === tarTypes.hardlink;
    const link = isHardlink ? normalisePath(rawLink) : type === tarTypes.symlink ? rawLink : '';
    if (isHardlink) requireHoldablePath(link);
    else if (link.length > pathLimit) throw pathTooLong(path, link.length, pathLimit);
    const written = extended.size ?? header.size;
    const size = carriesData(type) ? written : 0;
    const start = this.#groupStart ?? offset;
    this.#builder.add({
      path,
      type,
      link,
      start,
      dataStart: offset + blockSize,
      size,
      irregular:
        rawPath.startsWith('/') ||
        (slash && type !== tarTypes.directory) ||
        (isHardlink && rawLink.startsWith('/')) ||
        written !== size,
    });
    this.#extended = {};
    this.#extendedTypes = '';
    this.#groupStart = undefined;
    this.#skip = padded(size);
  }

  #expectMetadata(header: TarHeader, offset: number): void {
    const { type, size } = header;
    if (size > metadataLimit)
      throw new TarMalformed({ reason: 'extended header of more than 1 MiB', offset });
    const metadata: Metadata = {
      type,
      data: Buffer.alloc(size),
      length: 0,
      padding: padded(size) - size,
      offset,
    };
    if (size === 0) this.#understand(metadata);
    else this.#metadata = metadata;
  }

  #collect(metadata: Metadata, chunk: Buffer, at: number): number {
    const taken = Math.min(chunk.length - at, metadata.data.length - metadata.length);
    chunk.copy(metadata.data, metadata.length, at, at + taken);
    metadata.length += taken;
    this.#offset += taken;
    if (metadata.length === metadata.data.length) {
      this.#metadata = undefined;
      this.#skip = metadata.padding;
      this.#understand(metadata);
    }
    return taken;
  }

  #understand({ type, data, offset }: Metadata): void {
    if (type === tarTypes.gnuLongName) this.#set('path', untilNul(data), offset);
    else if (type === tarTypes.gnuLongLink) this.#set('link', untilNul(data), offset);
    else this.#extend(data, offset, type === tarTypes.paxGlobal);
  }

  /** Of two values for one thing readers choose differently, so there must not be two. */
  #set(key: 'path' | 'link', value: string, offset: number): void {
    if (this.#extended[key] !== undefined) throw new TarMalformed({ reason: 'an entry named twice', offset });
    if (value !== '') this.#extended[key] = value;
  }

  #extend(data: Buffer, offset: number, global: boolean): void {
    const records = parsePaxRecords(data, offset + blockSize);
    const values = new Map(records.map(({ key, value }) => [key, value]));
    const sparse = records.find(({ key }) => key.startsWith('GNU.sparse.'));
    if (sparse !== undefined) {
      const path = values.get('GNU.sparse.name') ?? values.get('path') ?? '';
      throw new TarUnsupported({ feature: 'sparse file', path });
    }
    const path = values.get('path') ?? '';
    const link = values.get('linkpath') ?? '';
    const size = values.get('size') ?? '';
    if (global) {
      // Applying it or not would each be wrong for half of the readers; git writes only a comment here.
      if (path !== '' || link !== '' || size !== '') {
        throw new TarUnsupported({ feature: 'global header that names or measures entries', path });
      }
      return;
    }
    if (/\0/.test(path) || /\0/.test(link) || !/^[0-9]{0,15}$/.test(size)) {
      throw new TarMalformed({ reason: 'bad value in a pax record', offset });
    }
    // An empty value takes the record back (POSIX).
    if (path !== '') this.#set('path', path, offset);
    if (link !== '') this.#set('link', link, offset);
    if (size !== '') this.#extended.size = Number(size);
  }

  #pad(chunk: Buffer, at: number): number {
    const left = chunk.length - at;
    if (!this.#trailing) this.#trailing = !isZero(chunk, at);
    this.#offset += left;
    return left;
  }
}

/**
 * The path without leading slash, `.` and empty parts.
 * @throws PathEscapes when a part is `..`.
 */
export function normalisePath(raw: string): string {
  const path = raw.endsWith('/') ? raw.slice(0, -1) : raw;
  if (!/(?:^|\/)\.{0,2}(?:\/|$)/.test(path)) return path;
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw new PathEscapes({ path: raw });
  return parts.join('/');
}

function untilNul(data: Buffer): string {
  const end = data.indexOf(0);
  return data.toString('latin1', 0, end === -1 ? data.length : end);
}

const zeros = Buffer.alloc(64 * 1024);

function isZero(bytes: Buffer, from: number): boolean {
  for (let at = from; at < bytes.length; at += zeros.length) {
    const end = Math.min(bytes.length, at + zeros.length);
    if (bytes.compare(zeros, 0, end - at, at, end) !== 0) return false;
  }
  return true;
}
