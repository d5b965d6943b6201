import { TarMalformed } from '../../oci/errors.ts';
import { blockSize, isZeroBlock, padded, parseTarHeader, tarTypes } from '../../oci/tar-header.ts';
import { parsePaxRecords } from '../../oci/tar-pax.ts';

/** One member of an archive. Its bytes pass by once: read them before asking for the next member, or not at all. */
export interface Member {
  /** As written, without a leading `./`. */
  readonly path: string;
  readonly type: 'file' | 'link' | 'other';
  /** The target of a link, as a path in the archive. */
  readonly target?: string;
  /** Bytes. */
  readonly size: number;
  body(): AsyncGenerator<Buffer>;
}

const extendedLimit = 1024 * 1024;

/**
 * The members of a tar archive as they stream by: ustar, GNU and pax. Nothing is kept but one header.
 * @throws TarMalformed, also when the archive stops before its end marker.
 */
export async function* readMembers(source: AsyncIterable<Buffer>): AsyncGenerator<Member> {
  const bytes = new Bytes(source);
  const extended: { path?: string; link?: string; size?: number } = {};
  for (;;) {
    const offset = bytes.offset;
    const block = await bytes.take(blockSize);
    if (isZeroBlock(block, 0)) break;
    const header = parseTarHeader(block, 0, offset);
    const { type } = header;
    if (type === tarTypes.pax || type === tarTypes.gnuLongName || type === tarTypes.gnuLongLink) {
      if (header.size > extendedLimit)
        throw new TarMalformed({ reason: 'extended header of more than 1 MiB', offset });
      const data = (await bytes.take(padded(header.size))).subarray(0, header.size);
      if (type === tarTypes.pax) {
        for (const { key, value } of parsePaxRecords(data, offset + blockSize)) {
          if (key === 'path') extended.path = value;
          if (key === 'linkpath') extended.link = value;
          if (key === 'size') extended.size = Number(value);
        }
      } else {
        const text = data.toString('latin1').replace(/\0.*$/s, '');
        if (type === tarTypes.gnuLongName) extended.path = text;
        else extended.link = text;
      }
      continue;
    }
    const size = extended.size ?? header.size;
    const path = pathOf(extended.path ?? header.name);
    const target = extended.link ?? header.link;
    delete extended.path;
    delete extended.link;
    delete extended.size;
    const isFile = type === tarTypes.file || type === tarTypes.oldFile;
    const isSymlink = type === tarTypes.symlink;
    const isLink = isSymlink || type === tarTypes.hardlink;
    const data = isLink || type === tarTypes.directory ? 0 : size;
    if (!Number.isSafeInteger(data) || data < 0)
      throw new TarMalformed({ reason: 'bad size in header', offset });
    const body = new Body(bytes, data);
    yield {
      path,
      type: isFile ? 'file' : isLink ? 'link' : 'other',
      // A symbolic link starts from where it lies, a hard link from the root of the archive.
      ...(isLink ? { target: pathOf(isSymlink ? `${directoryOf(path)}/${target}` : target) } : {}),
      size: data,
      body: () => body.read(),
    };
    await body.skip();
    await bytes.skip(padded(data) - data);
  }
  // Two blocks of zeros end an archive; what follows is padding, and read so that its sender is not left waiting.
  if (!isZeroBlock(await bytes.take(blockSize), 0))
    throw new TarMalformed({ reason: 'a lone zero block', offset: bytes.offset });
  await bytes.drain();
}

/** The data of one member, of which any part may be left unread. */
class Body {
  readonly #bytes: Bytes;
  #left: number;

  constructor(bytes: Bytes, size: number) {
    this.#bytes = bytes;
    this.#left = size;
  }

  async *read(): AsyncGenerator<Buffer> {
    while (this.#left > 0) {
      const chunk = await this.#bytes.next(this.#left);
      this.#left -= chunk.length;
      yield chunk;
    }
  }

  async skip(): Promise<void> {
    await this.#bytes.skip(this.#left);
    this.#left = 0;
  }
}

/** A stream of chunks, read in the sizes that a tar archive has. */
class Bytes {
  readonly #source: AsyncIterator<Buffer>;
  #chunk: Buffer = Buffer.alloc(0);
  /** Bytes given out so far. */
  offset = 0;

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** At least one byte, at most `limit`. */
  async next(limit: number): Promise<Buffer> {
    if (!(await this.#fill())) throw new TarMalformed({ reason: 'cut short', offset: this.offset });
    const part = this.#chunk.subarray(0, limit);
    this.#chunk = this.#chunk.subarray(part.length);
    this.offset += part.length;
    return part;
  }

  /** Exactly `size` bytes, copied: a chunk may be reused by its source once the next one is asked for. */
  async take(size: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(size);
    for (let at = 0; at < size;) at += (await this.next(size - at)).copy(bytes, at);
    return bytes;
  }

  async skip(size: number): Promise<void> {
    for (let left = size; left > 0;) left -= (await this.next(left)).length;
  }

  async drain(): Promise<void> {
    while (await this.#fill()) {
      this.offset += this.#chunk.length;
      this.#chunk = Buffer.alloc(0);
    }
  }

  /** Whether there is anything left. */
  async #fill(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) return false;
      this.#chunk = next.value;
    }
    return true;
  }
}

/** Without empty and `.` parts, `..` resolved; one that would leave the archive stays inside it and names nothing. */
function pathOf(raw: string): string {
  const parts: string[] = [];
  for (const part of raw.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

function directoryOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}
