import { createReadStream, createWriteStream } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, crc32, createZstdCompress } from 'node:zlib';

/** The `.smolmachine` format (crates/smolvm-pack/src/format.rs, the same from v0.8.0 to v1.9.3). */
const magic = 'SMOLPACK';
const footerBytes = 64;
const largestManifest = 16 * 1024 * 1024;

export interface Footer {
  readonly assetsSize: number;
  readonly manifestSize: number;
  readonly checksum: number;
}

export interface Entry {
  /** Path inside the archive. */
  readonly path: string;
  /** The file that holds its bytes. */
  readonly file: string;
}

/** Writes a zstd stream (level 3, no checksum) of a tar with these entries to a file. */
export async function writeAssets(entries: readonly Entry[], to: string): Promise<void> {
  const zstd = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 3 } });
  await pipeline(Readable.from(tarOf(entries), { objectMode: false }), zstd, createWriteStream(to));
}

async function* tarOf(entries: readonly Entry[]): AsyncGenerator<Buffer> {
  for (const { path, file } of entries) {
    const { size } = await stat(file);
    yield header(path, size);
    yield* createReadStream(file, { highWaterMark: 1 << 20 });
    yield Buffer.alloc((512 - (size % 512)) % 512);
  }
  yield Buffer.alloc(1024);
}

/** One ustar header; a size above 8 GiB in base 256. Layer paths with 64 digits fit into the name field. */
function header(path: string, size: number): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`;
  block.write(path, 0, 100, 'utf8');
  block.write(octal(0o644, 8), 100, 'latin1');
  block.write(octal(0, 8), 108, 'latin1');
  block.write(octal(0, 8), 116, 'latin1');
  if (size < 8 ** 11) block.write(octal(size, 12), 124, 'latin1');
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(size), 128);
  }
  block.write(octal(0, 12), 136, 'latin1');
  block.write('        0', 148, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/**
 * Assembles the sidecar in place, as smolvm does: the assets, the manifest, then everything is read again for the
 * checksum, and the footer comes last. Killed in between, it leaves a file without a footer.
 */
export async function writeSidecar(path: string, assets: string, manifest: object): Promise<Footer> {
  await pipeline(createReadStream(assets, { highWaterMark: 1 << 20 }), createWriteStream(path));
  const assetsSize = (await stat(path)).size;
  const json = Buffer.from(JSON.stringify(manifest, null, 2));
  await using file = await open(path, 'r+');
  await file.write(json, 0, json.length, assetsSize);
  const end = assetsSize + json.length;
  const footer = { assetsSize, manifestSize: json.length, checksum: await checksumOf(path, end) };
  await file.write(footerOf(footer), 0, footerBytes, end);
  return footer;
}

function footerOf({ assetsSize, manifestSize, checksum }: Footer): Buffer {
  const bytes = Buffer.alloc(footerBytes);
  bytes.write(magic, 0, 'latin1');
  bytes.writeUInt32LE(1, 8);
  bytes.writeBigUInt64LE(BigInt(assetsSize), 28);
  bytes.writeBigUInt64LE(BigInt(assetsSize), 36);
  bytes.writeBigUInt64LE(BigInt(manifestSize), 44);
  bytes.writeUInt32LE(checksum, 52);
  return bytes;
}

export async function checksumOf(path: string, end: number): Promise<number> {
  let sum = 0;
  if (end === 0) return sum;
  for await (const chunk of createReadStream(path, { end: end - 1, highWaterMark: 1 << 20 }))
    sum = crc32(chunk, sum);
  return sum;
}

/** Reads and checks a footer with smolvm's rules and words. `newer` is whether the release reads versions 2 and 3. */
export async function readFooter(file: FileHandle, newer: boolean): Promise<Footer> {
  const { size } = await file.stat();
  if (size < footerBytes) throw new Error('I/O error: sidecar file too small to contain a footer');
  const bytes = Buffer.alloc(footerBytes);
  await file.read(bytes, 0, footerBytes, size - footerBytes);
  if (bytes.toString('latin1', 0, 8) !== magic) throw new Error('invalid magic: expected SMOLPACK');
  const version = bytes.readUInt32LE(8);
  if (version < 1 || version > (newer ? 3 : 1)) throw new Error(`unsupported version: ${version}`);
  const [assetsOffset, assetsSize, manifestOffset, manifestSize] = [20, 28, 36, 44].map((at) =>
    Number(bytes.readBigUInt64LE(at)),
  ) as [number, number, number, number];
  if (manifestSize > largestManifest) {
    throw new Error(
      `I/O error: manifest size (${manifestSize} bytes) exceeds maximum (${largestManifest} bytes)`,
    );
  }
  if (assetsSize + manifestSize + footerBytes > size) {
    throw new Error('I/O error: footer sizes exceed file size (corrupt or truncated sidecar)');
  }
  if (assetsOffset === 0 && manifestOffset !== assetsSize) {
    throw new Error(
      `I/O error: sidecar manifest_offset (${manifestOffset}) does not match assets_size (${assetsSize}): corrupt footer`,
    );
  }
  return { assetsSize, manifestSize, checksum: bytes.readUInt32LE(52) };
}

/** Appends the runtime libraries' archive and its footer to the stub. */
export async function embedLibraries(stub: string, archive: Buffer): Promise<void> {
  const offset = (await stat(stub)).size;
  const footer = Buffer.alloc(32);
  footer.write('SMOLLIBS', 0, 'latin1');
  footer.writeUInt32LE(1, 8);
  footer.writeBigUInt64LE(BigInt(offset), 12);
  footer.writeBigUInt64LE(BigInt(archive.length), 20);
  await using file = await open(stub, 'a');
  await file.appendFile(Buffer.concat([archive, footer]));
}
