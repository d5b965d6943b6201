import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { tarOf } from '../../src/tar/write.ts';
import { temporary, file, link, list, archive, unpack, options } from './archive.ts';

describe('writing', () => {
  test('what is written, this host’s tar reads: long names, bytes, links, modes, times', async () => {
    using directory = temporary();
    const long = `${'long/'.repeat(30)}name`;
    const bytes = await archive([
      { kind: 'directory', path: 'd', mode: 0o750 },
      file('d/run', 'x', 0o755),
      file(long, 'long'),
      file('n\xff\xfe', 'bytes'),
      file('new\nline', 'x'),
      link('l', 't'.repeat(150)),
      file('empty', ''),
      file('big', Buffer.alloc(1_000_001, 7)),
    ]);
    execFileSync('tar', ['-xpf', '-', '-C', directory.path], { input: bytes });
    assert.equal(lstatSync(join(directory.path, 'd')).mode & 0o7777, 0o750);
    assert.equal(lstatSync(join(directory.path, 'd/run')).mode & 0o7777, 0o755);
    assert.equal(lstatSync(join(directory.path, 'd/run')).mtimeMs, 1_700_000_000_000);
    assert.equal(readFileSync(join(directory.path, long), 'utf8'), 'long');
    assert.equal(
      readFileSync(Buffer.concat([Buffer.from(`${directory.path}/n`), Buffer.from([0xff, 0xfe])]), 'utf8'),
      'bytes',
    );
    assert.equal(readlinkSync(join(directory.path, 'l')), 't'.repeat(150));
    assert.equal(readFileSync(join(directory.path, 'big')).length, 1_000_001);
  });

  test('a size over 8 GiB and owners over 2 million are told in a pax header', async () => {
    const size = 9 * 1024 ** 3;
    const stream = tarOf(list([file('huge', '', 0o644, size)]), { ...options, uid: 3_000_000, gid: 0 });
    const first = await new Promise<Buffer>((resolve) => stream.once('data', resolve));
    stream.destroy();
    const text = first.toString('latin1', 512, 1024);
    assert.match(text, new RegExp(`size=${size}\n`));
    assert.match(text, /uid=3000000\n/);
  });

  test('a body that is too short is filled up, one that is too long is cut, and both are said', async () => {
    using directory = temporary();
    const said: string[] = [];
    const entries = [
      file('short', 'abc', 0o644, 600),
      file('long', 'x'.repeat(2000), 0o644, 5),
      file('after', 'after'),
    ];
    const parts: Buffer[] = [];
    for await (const part of tarOf(list(entries), { ...options, onMismatch: (path) => said.push(path) }))
      parts.push(part as Buffer);
    await unpack(Buffer.concat(parts), directory.path);
    assert.deepEqual(said, ['short', 'long']);
    assert.deepEqual(
      readFileSync(join(directory.path, 'short')),
      Buffer.concat([Buffer.from('abc'), Buffer.alloc(597)]),
    );
    assert.equal(readFileSync(join(directory.path, 'long'), 'utf8'), 'xxxxx');
    assert.equal(readFileSync(join(directory.path, 'after'), 'utf8'), 'after');
  });
});
