import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { unpackTar, type UnpackOptions } from '../../src/tar/unpack.ts';
import { type TarEntry, tarOf } from '../../src/tar/write.ts';

export function temporary(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'claude-bottle-test-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export const file = (
  path: string,
  content: string | Buffer = path,
  mode = 0o644,
  size?: number,
): TarEntry => {
  const bytes = Buffer.from(content);
  return {
    kind: 'file',
    path,
    mode,
    size: size ?? bytes.length,
    body: async function* () {
      yield bytes;
    },
  };
};
export const link = (path: string, target: string): TarEntry => ({ kind: 'symlink', path, target });

export async function* list(entries: readonly TarEntry[]): AsyncGenerator<TarEntry> {
  yield* entries;
}

export const options = { uid: 0, gid: 0, modified: new Date(1_700_000_000_000) };

export async function archive(entries: readonly TarEntry[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of tarOf(list(entries), options)) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** A block of any kind, with any name and link, written by hand. */
export function raw(
  type: string,
  name: string,
  fields: { link?: string; size?: number; mode?: number; data?: Buffer } = {},
): Buffer {
  const data = fields.data ?? Buffer.alloc(0);
  const block = Buffer.alloc(512);
  block.write(name, 0, 100, 'latin1');
  block.write(`${(fields.mode ?? 0o644).toString(8).padStart(7, '0')}\0`, 100);
  block.write('0000000\0', 108);
  block.write('0000000\0', 116);
  block.write(`${(fields.size ?? data.length).toString(8).padStart(11, '0')}\0`, 124);
  block.write('00000000000\0', 136);
  block.write('        ', 148);
  block.write(type, 156);
  block.write(fields.link ?? '', 157, 100, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.write(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  return Buffer.concat([block, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}
export const end = Buffer.alloc(1024);
export const pax = (records: Record<string, string>) => {
  const data = Object.entries(records)
    .map(([key, value]) => {
      const rest = ` ${key}=${value}\n`;
      let length = rest.length + 1;
      while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length;
      return `${length}${rest}`;
    })
    .join('');
  return raw('x', 'pax', { data: Buffer.from(data, 'latin1') });
};

export async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export const unpack = (bytes: Buffer, to: string, more: UnpackOptions = {}, size = 1000) =>
  unpackTar(pieces(bytes, size), to, more);

export const refusedFor = (reason: string) => (error: { tag?: string; fields?: { reason: string } }) => {
  assert.equal(error.tag, 'ArchiveRefused', inspect(error));
  assert.equal(error.fields?.reason, reason);
  return true;
};
