import { TarMalformed } from './errors.ts';
import {
  blockSize,
  carriesData,
  checksumOf,
  dialectOf,
  field,
  padded,
  parseTarHeader,
  prefixLength,
  prefixOf,
  type TarDialect,
  tarTypes,
} from './tar-header.ts';
import { formatPaxRecord, type PaxRecord, parsePaxRecords } from './tar-pax.ts';

const shortName = field.mode - field.name;

/** Names as byte strings (latin1), as everywhere in tar headers. */
export interface NewNames {
  readonly path: string;
  /** The target, for a link; else ''. */
  readonly link: string;
  readonly type: string;
}

/**
 * The headers of one entry anew, with other names, and everything else (mode, owner, times, device numbers, extended
 * attributes) as it was.
 * @param group the entry's header blocks: extended headers first, its own last.
 * @throws TarMalformed
 */
export function rewriteHeaders(group: Buffer, names: NewNames): Buffer {
  const kept: PaxRecord[] = [];
  for (let at = 0; at < group.length - blockSize;) {
    const { type, size } = parseTarHeader(group, at, at);
    if (type === tarTypes.pax) {
      const data = group.subarray(at + blockSize, at + blockSize + size);
      kept.push(...parsePaxRecords(data, at).filter((record) => isKept(record, names.type)));
    }
    at += blockSize + padded(size);
  }
  return compose(Buffer.from(group.subarray(group.length - blockSize)), names, kept);
}

/** The headers of a directory that no layer describes: mode 0755, owned by root, of the year 1970. */
export function directoryHeaders(path: string): Buffer {
  const block = Buffer.alloc(blockSize);
  block.write('ustar\x0000', field.magic, 'latin1');
  for (const [start, length, value] of [
    [field.mode, 8, 0o755],
    [field.uid, 8, 0],
    [field.gid, 8, 0],
    [field.size, 12, 0],
    [field.mtime, 12, 0],
  ] as const) {
    writeOctal(block, start, length, value);
  }
  return compose(block, { path, link: '', type: tarTypes.directory }, []);
}

/** Puts the names into a header block of ours, and before it whatever extended header they need. */
function compose(block: Buffer, names: NewNames, kept: PaxRecord[]): Buffer {
  const path = names.type === tarTypes.directory ? `${names.path === '' ? '.' : names.path}/` : names.path;
  const dialect = dialectOf(block, 0);
  const inside = `${path}\n${names.link}`;
  const asGnu = dialect === 'gnu' || /[^\0-\x7f]/.test(inside); // pax names are UTF-8 by definition; these may not be.
  const records = [...kept];
  const parts: Buffer[] = [];
  for (const [name, key, longType] of [
    [names.link, 'linkpath', tarTypes.gnuLongLink],
    [path, 'path', tarTypes.gnuLongName],
  ] as const) {
    if (name.length <= shortName) continue;
    if (asGnu) parts.push(extendedHeader(longType, '././@LongLink', `${name}\0`, 'gnu'));
    else records.push({ key, value: name });
  }
  if (records.length > 0) {
    const data = records.map(formatPaxRecord).join('');
    parts.unshift(extendedHeader(tarTypes.pax, 'PaxHeaders/entry', data, 'ustar'));
  }
  writeText(block, field.name, shortName, path);
  block.fill(0, field.prefix, field.prefix + prefixToClear(block, dialect));
  writeText(block, field.link, shortName, names.link);
  block[field.type] = names.type.charCodeAt(0);
  if (!carriesData(names.type)) writeOctal(block, field.size, 12, 0);
  writeChecksum(block);
  return Buffer.concat([...parts, block]);
}

function extendedHeader(type: string, name: string, data: string, dialect: 'gnu' | 'ustar'): Buffer {
  const blocks = Buffer.alloc(blockSize + padded(data.length));
  writeText(blocks, field.name, shortName, name);
  writeOctal(blocks, field.mode, 8, 0o644);
  writeOctal(blocks, field.uid, 8, 0);
  writeOctal(blocks, field.gid, 8, 0);
  writeOctal(blocks, field.size, 12, data.length);
  writeOctal(blocks, field.mtime, 12, 0);
  blocks[field.type] = type.charCodeAt(0);
  blocks.write(dialect === 'gnu' ? 'ustar  \0' : 'ustar\x0000', field.magic, 'latin1');
  writeChecksum(blocks);
  blocks.write(data, blockSize, 'latin1');
  return blocks;
}

function isKept({ key }: PaxRecord, type: string): boolean {
  return key !== 'path' && key !== 'linkpath' && (key !== 'size' || carriesData(type));
}

/** In a GNU header those bytes hold times, unless an old Go put a prefix there. */
function prefixToClear(block: Buffer, dialect: TarDialect): number {
  if (dialect !== 'gnu') return prefixLength(dialect);
  return prefixOf(block, 0) === '' ? 0 : prefixLength('ustar');
}

function writeText(block: Buffer, start: number, length: number, text: string): void {
  block.fill(0, start, start + length);
  block.write(text.slice(0, length), start, 'latin1');
}

function writeOctal(block: Buffer, start: number, length: number, value: number): void {
  const digits = value.toString(8).padStart(length - 1, '0');
  if (digits.length >= length)
    throw new TarMalformed({ reason: 'number too large for its field', offset: start });
  block.write(`${digits}\0`, start, 'latin1');
}

function writeChecksum(block: Buffer): void {
  const { unsigned } = checksumOf(block, 0);
  block.write(`${unsigned.toString(8).padStart(6, '0')}\0 `, field.checksum, 'latin1');
}
