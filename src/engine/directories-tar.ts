import { Readable } from 'node:stream';
import { blockSize, checksumOf, field, tarTypes } from '../oci/tar-header.ts';

/** A tar of directories, each in the one before it: root's, 0755, of now. */
export function directoriesTar(names: readonly string[]): Readable {
  const blocks = names.map((_, depth) => directoryBlocks(`${names.slice(0, depth + 1).join('/')}/`));
  return Readable.from([...blocks.flat(), Buffer.alloc(2 * blockSize)]);
}

function directoryBlocks(path: string): Buffer[] {
  const name = Buffer.from(path);
  const now = Math.floor(Date.now() / 1000);
  const header = headerOf(name, tarTypes.directory, 0, now);
  if (name.length <= 100) return [header];
  // A name that does not fit comes as the content of an entry of its own (GNU tar, src/create.c, write_gnu_long_link).
  const content = Buffer.alloc(Math.ceil((name.length + 1) / blockSize) * blockSize);
  name.copy(content);
  return [
    headerOf(Buffer.from('././@LongLink'), tarTypes.gnuLongName, name.length + 1, now),
    content,
    header,
  ];
}

function headerOf(name: Buffer, type: string, size: number, seconds: number): Buffer {
  const header = Buffer.alloc(blockSize);
  name.copy(header, field.name, 0, 100);
  octal(header, field.mode, 8, 0o755);
  octal(header, field.uid, 8, 0);
  octal(header, field.gid, 8, 0);
  octal(header, field.size, 12, size);
  octal(header, field.mtime, 12, seconds);
  header.write(type, field.type, 'latin1');
  header.write('ustar  \0', field.magic, 'latin1');
  octal(header, field.checksum, 8, checksumOf(header, 0).unsigned);
  return header;
}

function octal(header: Buffer, at: number, length: number, value: number): void {
  header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
}
