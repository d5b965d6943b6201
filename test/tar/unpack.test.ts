import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { temporary, file, archive, raw, end, pax, unpack, refusedFor } from './archive.ts';

describe('unpacking', () => {
  test('gives back what this host’s tar packed, in any pieces', async () => {
    using directory = temporary();
    const from = join(directory.path, 'from');
    mkdirSync(join(from, 'a/b'), { recursive: true });
    writeFileSync(join(from, 'a/b', 'x'.repeat(180)), 'long name');
    writeFileSync(join(from, 'a/file'), Buffer.alloc(70_000, 3));
    writeFileSync(join(from, 'a/bin'), '', { mode: 0o755 });
    execFileSync('ln', [join(from, 'a/file'), join(from, 'a/hard')]);
    symlinkSync('b', join(from, 'a/link'));
    for (const format of ['gnu', 'pax', 'ustar']) {
      // ustar has no place for a name of that length.
      if (format === 'ustar') rmSync(join(from, 'a/b', 'x'.repeat(180)));
      const { stdout } = spawnSync('tar', ['-c', `--format=${format}`, '-C', from, '.'], {
        maxBuffer: 1 << 24,
      });
      for (const size of [1, 511, 100_000]) {
        using to = temporary();
        await unpack(stdout, to.path, {}, size);
        assert.equal(spawnSync('diff', ['-r', '--no-dereference', from, to.path]).stdout.toString(), '');
        assert.equal(lstatSync(join(to.path, 'a/bin')).mode & 0o777, 0o755);
      }
    }
  });

  const hostile: readonly (readonly [string, string, Buffer])[] = [
    ['an absolute path', 'path-absolute', raw('0', '/etc/x', { data: Buffer.from('x') })],
    ['a path that climbs', 'path-climbs', raw('0', 'a/../../x')],
    ['a directory that climbs', 'path-climbs', raw('5', '..')],
    [
      'a path that climbs in a pax header',
      'path-climbs',
      Buffer.concat([pax({ path: '../x' }), raw('0', 'innocent')]),
    ],
    [
      'a path that climbs in a GNU header',
      'path-climbs',
      Buffer.concat([raw('L', 'L', { data: Buffer.from('../x\0') }), raw('0', 'innocent')]),
    ],
    ['a NUL in a name', 'path-unusable', Buffer.concat([pax({ path: 'a\0b' }), raw('0', 'innocent')])],
    [
      'a name too long',
      'path-too-long',
      Buffer.concat([pax({ path: 'x'.repeat(300) }), raw('0', 'innocent')]),
    ],
    [
      'a tree too deep',
      'path-too-long',
      Buffer.concat([pax({ path: 'd/'.repeat(300) }), raw('5', 'innocent')]),
    ],
    ['a link to an absolute path', 'link-outside', raw('2', 'l', { link: '/etc' })],
    ['a link that climbs', 'link-outside', raw('2', 'd/l', { link: '../../etc' })],
    ['a hard link to an absolute path', 'path-absolute', raw('1', 'h', { link: '/etc/passwd' })],
    ['a hard link that climbs', 'path-climbs', raw('1', 'h', { link: '../../etc/passwd' })],
    ['a hard link to nothing', 'link-broken', raw('1', 'h', { link: 'nothing' })],
    [
      'a hard link to a directory',
      'link-broken',
      Buffer.concat([raw('5', 'd'), raw('1', 'h', { link: 'd' })]),
    ],
    ['a directory that becomes a file', 'malformed', Buffer.concat([raw('5', 'd'), raw('0', 'd')])],
    ['a sparse file', 'sparse', raw('S', 's')],
    ['a sparse file by pax', 'sparse', Buffer.concat([pax({ 'GNU.sparse.major': '1' }), raw('0', 's')])],
    ['a size that is none', 'malformed', Buffer.concat([pax({ size: '-5' }), raw('0', 's')])],
    ['an endless header', 'header-too-large', raw('x', 'x', { size: 2 ** 30 })],
    [
      'headers without end',
      'header-too-large',
      Buffer.concat(Array.from({ length: 20 }, () => pax({ path: 'x' }))),
    ],
    ['an end inside a file', 'truncated', raw('0', 'a', { size: 10_000 })],
  ];
  for (const [what, reason, bytes] of hostile) {
    test(`refuses ${what}`, async () => {
      using directory = temporary();
      const to = join(directory.path, 'to');
      mkdirSync(to);
      const whole = reason === 'truncated' ? bytes : Buffer.concat([bytes, end]);
      await assert.rejects(unpack(whole, to), refusedFor(reason));
      assert.deepEqual(readdirSync(directory.path), ['to']);
    });
  }

  test('never writes through a link of the archive, whatever the order', async () => {
    using directory = temporary();
    const outside = join(directory.path, 'outside');
    mkdirSync(outside);
    const to = join(directory.path, 'to');
    const through = [
      [raw('2', 'a', { link: '../outside' }), raw('0', 'a/x', { data: Buffer.from('x') })],
      [raw('5', 'a'), raw('2', 'a', { link: '../outside' }), raw('0', 'a/x')],
      [raw('2', 'a', { link: '../outside/x' }), raw('0', 'a', { data: Buffer.from('x') })],
      [raw('2', 'a', { link: '../outside' }), raw('5', 'a'), raw('0', 'a/x')],
      [raw('2', 'a', { link: '../outside' }), raw('2', 'a/b', { link: 'x' })],
      [raw('2', 'a', { link: '../outside' }), raw('1', 'b', { link: 'a' }), raw('0', 'b/x')],
      [
        raw('2', 'a', { link: '../outside/new' }),
        raw('1', 'b', { link: 'a' }),
        raw('0', 'b', { data: Buffer.from('x') }),
      ],
    ];
    for (const blocks of through) {
      mkdirSync(to);
      await unpack(Buffer.concat([...blocks, end]), to, { symlinks: 'any' }).catch(
        (error: { tag?: string }) => {
          assert.equal(error.tag, 'ArchiveRefused', inspect(error));
        },
      );
      assert.deepEqual(readdirSync(outside), []);
      rmSync(to, { recursive: true });
    }
  });

  test('a hard link shares its file, and a later file of the same name does not write to it', async () => {
    using directory = temporary();
    const data = Buffer.from('first');
    await unpack(
      Buffer.concat([
        raw('0', 'a', { data }),
        raw('1', 'b', { link: 'a' }),
        raw('0', 'b', { data: Buffer.from('second') }),
        end,
      ]),
      directory.path,
    );
    assert.equal(readFileSync(join(directory.path, 'a'), 'utf8'), 'first');
    assert.equal(readFileSync(join(directory.path, 'b'), 'utf8'), 'second');
  });

  test('makes no device and no pipe, and keeps no bit that changes who runs', async () => {
    using directory = temporary();
    const data = Buffer.from('x');
    const bytes = Buffer.concat([
      raw('3', 'char'),
      raw('4', 'block'),
      raw('6', 'pipe'),
      raw('7', 'odd'),
      raw('0', 'suid', { mode: 0o7755, data }),
      raw('5', 'sticky', { mode: 0o7777 }),
      raw('0', 'closed', { mode: 0, data }),
      end,
    ]);
    const { leftOut } = await unpack(bytes, directory.path);
    assert.deepEqual(leftOut, ['char', 'block', 'pipe', 'odd']);
    assert.deepEqual(readdirSync(directory.path).sort(), ['closed', 'sticky', 'suid']);
    assert.equal(lstatSync(join(directory.path, 'suid')).mode & 0o7777, 0o755);
    assert.equal(lstatSync(join(directory.path, 'sticky')).mode & 0o7000, 0);
    assert.equal(lstatSync(join(directory.path, 'closed')).mode & 0o700, 0o600);
  });

  test('stops at the limits of entries and bytes, before it writes what is over', async () => {
    using directory = temporary();
    const many = await archive(Array.from({ length: 50 }, (_, number) => file(`f${number}`)));
    await assert.rejects(
      unpack(many, directory.path, { limits: { entries: 20, bytes: 1e9 } }),
      refusedFor('too-many-entries'),
    );
    assert.equal(readdirSync(directory.path).length, 20);
    using other = temporary();
    const claim = raw('0', 'huge', { size: 2 ** 32 });
    await assert.rejects(
      unpack(claim, other.path, { limits: { entries: 20, bytes: 1e6 } }),
      refusedFor('too-many-bytes'),
    );
    assert.deepEqual(readdirSync(other.path), []);
  });

  test('strips leading parts, and leaves out what it is told to', async () => {
    using directory = temporary();
    const bytes = await archive([
      file('top/.git/config'),
      file('top/a'),
      file('top/deep/.git'),
      file('top/deep/b'),
    ]);
    await unpack(bytes, directory.path, { strip: 1, skip: (path) => path.split('/').includes('.git') });
    assert.deepEqual(readdirSync(directory.path).sort(), ['a', 'deep']);
    assert.deepEqual(readdirSync(join(directory.path, 'deep')), ['b']);
    await assert.rejects(unpack(bytes, directory.path));
  });

  test('ends when it is told to', async () => {
    using directory = temporary();
    const bytes = await archive([file('a'), file('b')]);
    const reason = new Error('stop');
    await assert.rejects(unpack(bytes, directory.path, { signal: AbortSignal.abort(reason) }), reason);
  });
});
