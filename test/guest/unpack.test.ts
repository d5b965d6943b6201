import assert from 'node:assert/strict';
import { chmod, lstat, mkdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { paxRecord, tarEnd, tarEntry } from './archives.ts';
import { bottleInit, build, built, temporary } from './guest.ts';

before(build);

function unpack(directory: string, archive: Buffer, program: string = bottleInit) {
  return run(program, ['unpack', directory], { input: archive, env: { ASAN_OPTIONS: 'detect_leaks=0' } });
}

/** Everything below a directory, as find(1) tells it. */
async function listing(directory: string): Promise<string> {
  const format = String.raw`%P %y %m %U:%G %s %T@ %l %n\n`;
  const found = await run('sh', ['-c', `find . -mindepth 1 -printf '${format}' | sort`], { cwd: directory });
  // The size of a directory is the file system's own affair.
  return found.stdout.replaceAll(/^(\S+ d \S+ \S+) \d+/gm, '$1');
}

const tree = `
  umask 022; mkdir -p a/deep/er empty "$LONG"/x
  echo text > a/file; chmod 4755 a/file; chown 1234:5678 a/file; head -c 1000000 /dev/urandom > a/deep/big
  : > a/nothing; head -c 512 /dev/zero > a/deep/er/block; echo x > "$LONG/x/file"; ln -s "$LONG/$LONG" a/far
  ln -s ../a/file empty/link; ln -s /nowhere a/dangling; ln a/file a/deep/second; chown -h 77:88 a/dangling
  chown 3000000:4000000 a/deep/big; touch -d '1960-05-05 00:00:00' a/nothing; touch -h -d '2001-02-03 04:05:06' a/far
  mkdir -m 1777 sticky; mkdir -m 0500 a/closed; echo in > a/closed/in; touch -d '2000-01-01' a empty a/deep "$LONG"
  echo unlauter > 'ein Name mit Lücke'`;

describe('unpack', { timeout: 120_000 }, () => {
  for (const format of ['gnu', 'pax', 'ustar', 'oldgnu', 'v7']) {
    test(`makes what GNU tar packed in its format ${format}`, async () => {
      for (const program of [bottleInit, built.sanitized]) {
        await using from = await temporary();
        await using to = await temporary();
        const isOld = format === 'ustar' || format === 'v7';
        // What fits into the oldest formats, and what needs the newer ones.
        const env = { PATH: process.env.PATH, LONG: isOld ? 'short' : 'n'.repeat(180) };
        const script = isOld ? tree.replace(/3000000:4000000/, '7:8').replace('1960', '1970') : tree;
        const made = await run('sh', ['-ec', script], { cwd: from.path, env });
        assert.equal(made.code, 0, made.stderr);
        const packed = join(to.path, 'archive.tar');
        const target = join(to.path, 'target');
        await mkdir(target);
        const tar = await run('tar', [`--format=${format}`, '-cf', packed, '-C', from.path, '.']);
        assert.equal(tar.code, 0, tar.stderr);
        const { code, stdout, stderr } = await unpack(target, await readFile(packed), program);
        assert.deepEqual([code, stdout, stderr], [0, '', '']);
        const [ours, theirs] = await Promise.all([listing(target), listing(from.path)]);
        // Only pax has fractions of seconds.
        const rounded = (text: string) =>
          format === 'pax' ? text : text.replaceAll(/(-?\d+)\.\d{10}/g, '$1');
        assert.equal(rounded(ours), rounded(theirs));
        const { stdout: difference } = await run('diff', ['-r', '--no-dereference', target, from.path]);
        assert.equal(difference, '');
      }
    });
  }

  test('replaces what is no directory, keeps directories and what is in them, makes parents', async () => {
    await using to = await temporary();
    await mkdir(join(to.path, 'kept/old'), { recursive: true });
    await writeFile(join(to.path, 'outside'), 'safe');
    await symlink(join(to.path, 'outside'), join(to.path, 'kept/link'));
    await writeFile(join(to.path, 'kept/file'), 'before');
    const archive = Buffer.concat([
      tarEntry({ name: './' }, '5'),
      tarEntry({ name: '/kept/', mode: 0o750, uid: 5, gid: 6 }, '5'),
      tarEntry({ name: './kept//link', data: 'file now' }),
      tarEntry({ name: 'kept/file', link: 'old' }, '2'),
      tarEntry({ name: 'new/er/file', data: 'x', mode: 0o640 }),
      tarEnd,
      Buffer.from('what is behind the end'),
    ]);
    const { code, stderr } = await unpack(to.path, archive);
    assert.equal(code, 0, stderr);
    assert.equal(await readFile(join(to.path, 'outside'), 'utf8'), 'safe');
    assert.equal(await readFile(join(to.path, 'kept/link'), 'utf8'), 'file now');
    assert.equal(await readlink(join(to.path, 'kept/file')), 'old');
    const kept = await lstat(join(to.path, 'kept'));
    assert.deepEqual([kept.mode & 0o7777, kept.uid, kept.gid], [0o750, 5, 6]);
    const made = await lstat(join(to.path, 'new/er'));
    assert.deepEqual([made.mode & 0o7777, made.uid, made.gid], [0o755, 0, 0]);
  });
});

describe('unpack and archives that mean harm', { timeout: 120_000 }, () => {
  const safe = tarEntry({ name: 'before', data: 'unpacked' });
  const records = (...pairs: readonly (readonly [string, string])[]) =>
    tarEntry({ name: 'records', data: pairs.map(([key, value]) => paxRecord(key, value)).join('') }, 'x');
  const refused: readonly (readonly [what: string, entries: readonly Buffer[], words: RegExp])[] = [
    ['".." at the front', [tarEntry({ name: '../out', data: 'x' })], /\.\.\/out: it leads up/],
    ['".." within', [tarEntry({ name: 'dir/../../out', data: 'x' })], /leads up/],
    ['".." at the end', [tarEntry({ name: 'dir/..' }, '5')], /leads up/],
    ['".." in a pax path', [records(['path', '../out']), tarEntry({ name: 'fine', data: 'x' })], /leads up/],
    [
      '".." in a long name',
      [tarEntry({ name: 'l', data: '../out\0' }, 'L'), tarEntry({ name: 'fine' })],
      /leads up/,
    ],
    ['a symlink there as a parent', [tarEntry({ name: 'outward/out', data: 'x' })], /a parent is a symlink/],
    [
      'a symlink of its own as a parent',
      [tarEntry({ name: 'mine', link: '/tmp' }, '2'), tarEntry({ name: 'mine/out', data: 'x' })],
      /a parent is a symlink/,
    ],
    ['a directory below a symlink', [tarEntry({ name: 'outward/sub' }, '5')], /a parent is a symlink/],
    ['a file as a parent', [tarEntry({ name: 'before/out', data: 'x' })], /no directory/],
    [
      'a hard link that leads up',
      [tarEntry({ name: 'fine', link: '../out' }, '1')],
      /a link to \.\.\/out: it leads up/,
    ],
    [
      'a hard link through a symlink',
      [tarEntry({ name: 'fine', link: 'outward/secret' }, '1')],
      /a parent is a symlink/,
    ],
    ['a hard link to nothing', [tarEntry({ name: 'fine', link: 'nothing' }, '1')], /is not there/],
    ['a hard link to a directory', [tarEntry({ name: 'fine', link: 'dir' }, '1')], /is a directory/],
    [
      'a hard link to an absolute name of the host',
      [tarEntry({ name: 'fine', link: '/etc/passwd' }, '1')],
      /fine: No such file/,
    ],
    ['a file where a directory is', [tarEntry({ name: 'dir', data: 'x' })], /there is a directory/],
    [
      'a symlink where a directory is',
      [tarEntry({ name: 'dir', link: '/tmp' }, '2')],
      /there is a directory/,
    ],
    ['a file in the place of all', [tarEntry({ name: '.', data: 'x' })], /directory itself/],
    ['a device', [tarEntry({ name: 'fine' }, '3')], /only files, directories and links/],
    ['a block device', [tarEntry({ name: 'fine' }, '4')], /only files, directories and links/],
    ['a fifo', [tarEntry({ name: 'fine' }, '6')], /only files, directories and links/],
    ['a type that is none', [tarEntry({ name: 'fine' }, 'S')], /only files, directories and links/],
    ['a directory with data', [tarEntry({ name: 'fine', data: 'x' }, '5')], /which its type has not/],
    ['holes of GNU tar', [records(['GNU.sparse.major', '1']), tarEntry({ name: 'fine' })], /holes/],
    [
      'records that lie about their length',
      [tarEntry({ name: 'r', data: '99 path=a\n' }, 'x')],
      /records are malformed/,
    ],
    ['a name of 5000 bytes', [records(['path', 'a/'.repeat(2500)]), tarEntry({ name: 'fine' })], /too long/],
    [
      'a component of 300 bytes',
      [records(['path', 'a'.repeat(300)]), tarEntry({ name: 'fine' })],
      /too long/,
    ],
    [
      'an owner that is none',
      [records(['uid', '4294967295']), tarEntry({ name: 'fine' })],
      /not what it says/,
    ],
    [
      'a wrong checksum',
      [Buffer.concat([Buffer.from('x'), tarEntry({ name: 'fine' }).subarray(1)])],
      /checksum/,
    ],
    ['a lone block of zeros', [Buffer.alloc(512), tarEntry({ name: 'fine' })], /not the end/],
    ['records that nothing follows', [records(['path', 'a']), tarEnd], /ends before an entry/],
  ];
  for (const [what, entries, words] of refused) {
    test(`${what} is refused, and what came before stays`, async () => {
      for (const program of [bottleInit, built.sanitized]) {
        await using outer = await temporary();
        const target = join(outer.path, 'target');
        await mkdir(join(target, 'dir'), { recursive: true });
        await mkdir(join(outer.path, 'outside'));
        await writeFile(join(outer.path, 'outside/secret'), 'secret');
        await symlink('../outside', join(target, 'outward'));
        const { code, stderr } = await unpack(target, Buffer.concat([safe, ...entries, tarEnd]), program);
        assert.equal(code, 125);
        assert.match(stderr, words);
        assert.match(stderr, /^bottle-init: [^\n]*\n$/);
        assert.equal(await readFile(join(target, 'before'), 'utf8'), 'unpacked');
        const { stdout } = await run('sh', ['-c', 'ls target; ls outside; ls'], { cwd: outer.path });
        assert.match(stdout, /^before\ndir\n(mine\n)?outward\nsecret\noutside\ntarget\n$/);
      }
    });
  }

  test('an archive that is cut off anywhere is refused, and leaves no half of a file', async () => {
    const archive = Buffer.concat([safe, tarEntry({ name: 'file', data: Buffer.alloc(3000, 'x') }), tarEnd]);
    for (const size of [0, 1, 511, 512, 1023, 1024, 1025, 1536, 1537, 3000, 4608, 5119, 5120]) {
      await using directory = await temporary();
      const { code, stderr } = await unpack(directory.path, archive.subarray(0, size));
      assert.deepEqual([size, code], [size, 125]);
      assert.match(stderr, /ends too early/);
      const { size: found } = await lstat(join(directory.path, 'file')).catch(() => ({ size: 3000 }));
      assert.equal(found, 3000);
    }
  });

  test('a hard link to its own name, or over another name of the same file, removes nothing', async () => {
    await using directory = await temporary();
    const links = ['same', 'other'].map((name) => tarEntry({ name, link: 'same' }, '1'));
    const archive = Buffer.concat([tarEntry({ name: 'same', data: 'kept' }), ...links, ...links, tarEnd]);
    const { code, stderr } = await unpack(directory.path, archive);
    assert.equal(code, 0, stderr);
    assert.equal(await readFile(join(directory.path, 'same'), 'utf8'), 'kept');
    assert.equal((await lstat(join(directory.path, 'other'))).nlink, 2);
  });

  test('without the directory, or a disk, there is one line that says so', async () => {
    await using directory = await temporary();
    const missing = await unpack(join(directory.path, 'missing'), tarEnd);
    assert.equal(missing.code, 125);
    assert.match(missing.stderr, /^bottle-init: cannot unpack into .*: No such file or directory\n$/);
    await chmod(directory.path, 0o755);
    const script = 'mount -t tmpfs -o size=64k none "$1" && exec "$0" unpack "$1"';
    const full = await run('unshare', ['-m', 'sh', '-c', script, bottleInit, directory.path], {
      input: Buffer.concat([tarEntry({ name: 'big', data: Buffer.alloc(200_000) }), tarEnd]),
    });
    assert.equal(full.code, 125);
    assert.match(full.stderr, /^bottle-init: cannot unpack big: No space left on device\n$/);
  });
});
