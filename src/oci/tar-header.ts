import { TarMalformed } from './errors.ts';

/** Everything in a tar archive is a multiple of this many bytes (POSIX.1-2017, pax, "ustar Interchange Format"). */
export const blockSize = 512;

/** Type flags, as the character in the header. `\0` is a regular file of before POSIX. */
export const tarTypes = {
  oldFile: '\0',
  file: '0',
  hardlink: '1',
  symlink: '2',
  characterDevice: '3',
  blockDevice: '4',
  directory: '5',
  fifo: '6',
  pax: 'x',
  paxGlobal: 'g',
  gnuLongName: 'L',
  gnuLongLink: 'K',
  gnuSparse: 'S',
} as const;

/** Types that never carry data, whatever their size field says (as Go's archive/tar and thus every engine reads them). */
const withoutData: ReadonlySet<string> = new Set([
  tarTypes.hardlink,
  tarTypes.symlink,
  tarTypes.characterDevice,
  tarTypes.blockDevice,
  tarTypes.directory,
  tarTypes.fifo,
]);

export function carriesData(type: string): boolean {
  return !withoutData.has(type);
}

/** Where the fields of a header block start; each ends where the next begins. */
export const field = {
  name: 0,
  mode: 100,
  uid: 108,
  gid: 116,
  size: 124,
  mtime: 136,
  checksum: 148,
  type: 156,
  link: 157,
  magic: 257,
  version: 263,
  userName: 265,
  groupName: 297,
  deviceMajor: 329,
  deviceMinor: 337,
  prefix: 345,
  starTrailer: 508,
} as const;

export type TarDialect = 'v7' | 'ustar' | 'star' | 'gnu';

/** One header block as it stands, before any extended header is laid over it. Names are byte strings (latin1). */
export interface TarHeader {
  readonly name: string;
  readonly type: string;
  readonly size: number;
  readonly link: string;
}

/**
 * Reads the header block at `at`.
 * @param offset where the block lies in the archive, for the failure.
 * @throws TarMalformed when the checksum or the size is wrong.
 */
export function parseTarHeader(bytes: Buffer, at: number, offset: number): TarHeader {
  if (!checksumHolds(bytes, at)) throw new TarMalformed({ reason: 'bad header checksum', offset });
  const size = parseNumber(bytes, at + field.size, 12);
  if (size === undefined) throw new TarMalformed({ reason: 'bad size in header', offset });
  const name = textAt(bytes, at + field.name, 100);
  const prefix = prefixOf(bytes, at);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    type: String.fromCharCode(bytes[at + field.type] ?? 0),
    size,
    link: textAt(bytes, at + field.link, 100),
  };
}

/** Which of the formats that share the layout a header block is written in. */
export function dialectOf(bytes: Buffer, at: number): TarDialect {
  const magic = bytes.toString('latin1', at + field.magic, at + field.userName);
  if (magic === 'ustar  \0') return 'gnu';
  if (!magic.startsWith('ustar\0')) return 'v7';
  return bytes.toString('latin1', at + field.starTrailer, at + blockSize) === 'tar\0' ? 'star' : 'ustar';
}

/** Bytes of the prefix field in that dialect; 0 where those bytes mean something else. */
export function prefixLength(dialect: TarDialect): number {
  return { v7: 0, ustar: 155, star: 131, gnu: 0 }[dialect];
}

/** A number field: octal text, or base 256 when its first bit is set (GNU). `undefined` when it is neither. */
export function parseNumber(bytes: Buffer, start: number, length: number): number | undefined {
  const first = bytes[start] ?? 0;
  if ((first & 0x80) !== 0) {
    if ((first & 0x40) !== 0) return undefined; // Negative.
    let value = first & 0x3f;
    for (let at = start + 1; at < start + length; at++) value = value * 256 + (bytes[at] ?? 0);
    return Number.isSafeInteger(value) ? value : undefined;
  }
  let at = start;
  const end = start + length;
  while (at < end && (bytes[at] === 0x20 || bytes[at] === 0)) at++;
  let value = 0;
  for (; at < end; at++) {
    const digit = bytes[at] ?? 0;
    if (digit === 0 || digit === 0x20) break;
    if (digit < 0x30 || digit > 0x37) return undefined;
    value = value * 8 + digit - 0x30;
  }
  return value;
}

/** The checksum of a header block: the sum of its bytes, those of the checksum field taken as spaces. */
export function checksumOf(bytes: Buffer, at: number): { unsigned: number; signed: number } {
  let unsigned = 8 * 0x20;
  let high = 0;
  for (let index = at; index < at + field.checksum; index++) {
    const byte = bytes[index] ?? 0;
    unsigned += byte;
    high += byte >> 7;
  }
  for (let index = at + field.type; index < at + blockSize; index++) {
    const byte = bytes[index] ?? 0;
    unsigned += byte;
    high += byte >> 7;
  }
  return { unsigned, signed: unsigned - 256 * high };
}

/** The text of a field up to its first NUL, one character a byte. */
export function textAt(bytes: Buffer, start: number, length: number): string {
  const end = bytes.indexOf(0, start);
  return bytes.toString('latin1', start, end === -1 ? start + length : Math.min(end, start + length));
}

export function isZeroBlock(bytes: Buffer, at: number): boolean {
  for (let index = at; index < at + blockSize; index++) if (bytes[index] !== 0) return false;
  return true;
}

/** `size` rounded up to whole blocks. */
export function padded(size: number): number {
  return Math.ceil(size / blockSize) * blockSize;
}

/** Some old programs summed signed bytes; readers take both. */
function checksumHolds(bytes: Buffer, at: number): boolean {
  const written = parseNumber(bytes, at + field.checksum, 8);
  const { unsigned, signed } = checksumOf(bytes, at);
  return written === unsigned || written === signed;
}

/** What stands before the name, of those who put anything there. */
export function prefixOf(bytes: Buffer, at: number): string {
  const dialect = dialectOf(bytes, at);
  if (dialect !== 'gnu') return textAt(bytes, at + field.prefix, prefixLength(dialect));
  // GNU keeps two times in these bytes. Go before 1.8 wrote a prefix there all the same, and so did every engine built
  // with it; Go's own reader (archive/tar, reader.go, readHeader) tells the two apart like this.
  const times = [field.prefix, field.prefix + 12];
  if (times.every((time) => bytes[at + time] === 0 || parseNumber(bytes, at + time, 12) !== undefined))
    return '';
  const prefix = textAt(bytes, at + field.prefix, 155);
  return /^[\0-\x7f]*$/.test(prefix) ? prefix : '';
}
