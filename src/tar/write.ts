import { Readable } from 'node:stream';
import { blockSize, checksumOf, field, padded, tarTypes } from '../oci/tar-header.ts';
import { formatPaxRecord, type PaxRecord } from '../oci/tar-pax.ts';

interface Named {
  /** One character a byte, without a leading or trailing slash. */
  readonly path: string;
  /** Where it differs from the archive's. */
  readonly modified?: Date;
}

/** What goes into an archive. */
export type TarEntry = Named &
  (
    | { readonly kind: 'directory'; readonly mode: number }
    | { readonly kind: 'symlink'; readonly target: string }
    | {
        readonly kind: 'file';
        readonly mode: number;
        /** What is announced. `body` is cut there, and filled up with zeros when it ends before. */
        readonly size: number;
        body(): AsyncIterable<Uint8Array>;
      }
  );

export interface TarOptions {
  /** The owner of every entry. */
  readonly uid: number;
  readonly gid: number;
  readonly modified: Date;
  /** Called for a file whose body had another size than announced: it is whole as an archive, not as a file. */
  readonly onMismatch?: (path: string) => void;
}

/** Small pieces are sent together once they come to this many bytes. */
const batchBytes = 256 * 1024;

/**
 * Writes a tar archive (POSIX.1-2017 ustar; a pax header where a name, a size or an owner does not fit) as it is read.
 * Holds no file in memory. What `entries` throws destroys the stream.
 */
export function tarOf(entries: AsyncIterable<TarEntry>, options: TarOptions): Readable {
  return Readable.from(batched(blocks(entries, options)), { objectMode: false, highWaterMark: batchBytes });
}

async function* batched(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let waiting: Uint8Array[] = [];
  let size = 0;
  for await (const part of source) {
    waiting.push(part);
    size += part.byteLength;
    if (size < batchBytes) continue;
    yield waiting.length === 1 ? part : Buffer.concat(waiting);
    waiting = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(waiting);
}

async function* blocks(entries: AsyncIterable<TarEntry>, options: TarOptions): AsyncGenerator<Uint8Array> {
  for await (const entry of entries) {
    yield headersOf(entry, options);
    if (entry.kind === 'file') yield* bodyOf(entry, options);
  }
  yield Buffer.alloc(2 * blockSize);
}

async function* bodyOf(entry: TarEntry & { kind: 'file' }, options: TarOptions): AsyncGenerator<Uint8Array> {
  let left = entry.size;
  let fits = true;
  for await (const part of entry.body()) {
    if (part.byteLength > left) {
      fits = false;
      if (left > 0) yield part.subarray(0, left);
      left = 0;
      break;
    }
    left -= part.byteLength;
    yield part;
  }
  if (left > 0 || !fits) options.onMismatch?.(entry.path);
  for (; left > 0; left -= Math.min(left, batchBytes)) yield Buffer.alloc(Math.min(left, batchBytes));
  yield Buffer.alloc(padded(entry.size) - entry.size);
}

const typeOf = { directory: tarTypes.directory, symlink: tarTypes.symlink, file: tarTypes.file } as const;

function headersOf(entry: TarEntry, options: TarOptions): Buffer {
  const name = entry.kind === 'directory' ? `${entry.path}/` : entry.path;
  const link = entry.kind === 'symlink' ? entry.target : '';
  const size = entry.kind === 'file' ? entry.size : 0;
  const records: PaxRecord[] = [];
  if (name.length > 100) records.push({ key: 'path', value: name });
  if (link.length > 100) records.push({ key: 'linkpath', value: link });
  if (size >= 8 ** 11) records.push({ key: 'size', value: String(size) });
  if (options.uid >= 8 ** 7) records.push({ key: 'uid', value: String(options.uid) });
  if (options.gid >= 8 ** 7) records.push({ key: 'gid', value: String(options.gid) });
  const modified = Math.floor((entry.modified ?? options.modified).getTime() / 1000);
  const main = header({
    name: name.slice(0, 100),
    link: link.slice(0, 100),
    mode: entry.kind === 'symlink' ? 0o777 : entry.mode & 0o777,
    uid: options.uid % 8 ** 7,
    gid: options.gid % 8 ** 7,
    size: size % 8 ** 11,
    modified,
    type: typeOf[entry.kind],
  });
  if (records.length === 0) return main;
  const data = Buffer.from(records.map(formatPaxRecord).join(''), 'latin1');
  const extended = header({
    name: 'pax',
    link: '',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: data.length,
    modified,
    type: tarTypes.pax,
  });
  return Buffer.concat([extended, data, Buffer.alloc(padded(data.length) - data.length), main]);
}

interface HeaderFields {
  readonly name: string;
  readonly link: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly modified: number;
  readonly type: string;
}

function header(fields: HeaderFields): Buffer {
  const block = Buffer.alloc(blockSize);
  block.write(fields.name, field.name, 'latin1');
  writeOctal(block, field.mode, 7, fields.mode);
  writeOctal(block, field.uid, 7, fields.uid);
  writeOctal(block, field.gid, 7, fields.gid);
  writeOctal(block, field.size, 11, fields.size);
  writeOctal(block, field.mtime, 11, Math.max(0, fields.modified));
  block.write(fields.type, field.type, 'latin1');
  block.write(fields.link, field.link, 'latin1');
  block.write('ustar\x0000', field.magic, 'latin1');
  writeOctal(block, field.checksum, 6, checksumOf(block, 0).unsigned);
  block.write('\0 ', field.checksum + 6, 'latin1');
  return block;
}

function writeOctal(block: Buffer, at: number, digits: number, value: number): void {
  block.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
}
