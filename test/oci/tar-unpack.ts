import assert from 'node:assert/strict';

/** A file as an archive describes it. Hard links share one of these. */
export interface UnpackedFile {
  type: string;
  mode: number;
  uid: number;
  gid: number;
  mtime: number;
  link: string;
  device: string;
  content: Buffer;
  /** What pax records say beyond names and sizes. */
  extra: Record<string, string>;
}

/**
 * A strict in-memory unpacker, written apart from the code under test: it follows no links, overwrites nothing, and
 * wants every parent and every link's target to be there before.
 */
export function unpack(tar: Buffer): Map<string, UnpackedFile> {
  const files = new Map<string, UnpackedFile>();
  let names: { path?: string; link?: string } = {};
  let extra: Record<string, string> = {};
  let paxSize: number | undefined;
  let at = 0;
  for (;;) {
    const block = tar.subarray(at, at + 512);
    assert.equal(block.length, 512, 'the archive ends without its end marker');
    at += 512;
    if (block.every((byte) => byte === 0)) break;
    const sum = block.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 32 : byte), 0);
    assert.equal(number(block, 148, 8), sum, 'checksum');
    const type = text(block, 156, 1) || '0';
    const isBare = '123456'.includes(type);
    const size = isBare ? 0 : (paxSize ?? number(block, 124, 12));
    const data = tar.subarray(at, at + size);
    assert.equal(data.length, size);
    at += Math.ceil(size / 512) * 512;
    if (type === 'L') names.path = text(data, 0, data.length);
    else if (type === 'K') names.link = text(data, 0, data.length);
    else if (type === 'x') {
      for (const [key, value] of paxRecords(data)) {
        if (key === 'path') names.path = value;
        else if (key === 'linkpath') names.link = value;
        else if (key === 'size') paxSize = Number(value);
        else extra[key] = value;
      }
    } else {
      const isUstar = text(block, 257, 6) === 'ustar';
      const prefix = isUstar ? text(block, 345, 155) : '';
      const raw = names.path ?? (prefix === '' ? text(block, 0, 100) : `${prefix}/${text(block, 0, 100)}`);
      const path = raw
        .split('/')
        .filter((part) => part !== '' && part !== '.')
        .join('/');
      const link = names.link ?? text(block, 157, 100);
      assert.ok(!files.has(path), `${path} comes twice`);
      const slash = path.lastIndexOf('/');
      if (slash !== -1) assert.equal(files.get(path.slice(0, slash))?.type, '5', `the parent of ${path}`);
      if (type === '1') {
        const target = files.get(link.replace(/^\.\//, ''));
        assert.ok(target !== undefined && target.type !== '5', `${path} links to ${link}`);
        files.set(path, target);
      } else {
        files.set(path, {
          type,
          mode: number(block, 100, 8),
          uid: number(block, 108, 8),
          gid: number(block, 116, 8),
          mtime: number(block, 136, 12),
          link: type === '2' ? link : '',
          device: type === '3' || type === '4' ? `${number(block, 329, 8)}:${number(block, 337, 8)}` : '',
          content: Buffer.from(data),
          extra,
        });
      }
      names = {};
      extra = {};
      paxSize = undefined;
    }
  }
  return files;
}

function paxRecords(data: Buffer): [string, string][] {
  const records: [string, string][] = [];
  for (let at = 0; at < data.length;) {
    const line = data.subarray(at, at + Number.parseInt(data.subarray(at).toString('latin1'), 10));
    const body = line.toString('latin1').slice(String(line.length).length + 1, -1);
    records.push([body.slice(0, body.indexOf('=')), body.slice(body.indexOf('=') + 1)]);
    at += line.length;
  }
  return records;
}

function text(bytes: Buffer, at: number, length: number): string {
  const field = bytes.subarray(at, at + length).toString('latin1');
  return field.includes('\0') ? field.slice(0, field.indexOf('\0')) : field;
}

function number(bytes: Buffer, at: number, length: number): number {
  if (((bytes[at] ?? 0) & 0x80) !== 0) return bytes.readUIntBE(at + length - 6, 6);
  return Number.parseInt(text(bytes, at, length).trim() || '0', 8);
}
