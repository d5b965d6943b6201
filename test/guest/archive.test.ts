import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../src/process/run.ts';
import { bottleInit, build, built, temporary } from './guest.ts';

before(build);

const tree = `
  umask 022; mkdir -p top/a/deep/er top/empty "top/$LONG/$LONG/$LONG"; cd top
  echo text > a/file; chmod 4755 a/file; chown 1234:5678 a/file; head -c 1000000 /dev/urandom > a/deep/big
  : > a/nothing; head -c 512 /dev/zero > a/deep/er/block; echo x > "$LONG/$LONG/file"; ln -s "$LONG/$LONG" a/far
  echo hundred > $(printf %096d 1); echo more > $(printf %097d 1); mkdir $(printf %095d 2) $(printf %096d 3)
  ln -s ../a/file empty/link; ln -s $(printf %0100d 1) a/hundred; chown -h 77:88 a/hundred
  chown 3000000:4000000 a/deep/big; touch -d '1960-05-05' a/nothing; touch -d '2500-01-01' a/deep/er/block
  mkdir -m 1777 sticky; mkfifo -m 600 fifo; mknod null c 1 3; mknod block b 259 70000; touch -h -d '2001-02-03' a/far
  truncate -s 9G huge; chmod 600 huge; touch -d '2000-01-01' a empty a/deep "$LONG" .`;

/** Packs a directory into a file, with whatever else is to happen meanwhile. */
async function pack(program: string, path: string, into: string) {
  const env = { ASAN_OPTIONS: 'detect_leaks=0', PATH: process.env.PATH };
  return run('sh', ['-c', '"$0" archive "$1" > "$2"', program, path, into], { env, deadlineMs: 100_000 });
}

describe('archive', { timeout: 200_000 }, () => {
  test('GNU tar makes of it what was there, sockets aside', async () => {
    await using from = await temporary();
    const script = tree.replace('truncate -s 9G huge; chmod 600 huge; ', '');
    const made = await run('sh', ['-ec', script], {
      cwd: from.path,
      env: { PATH: process.env.PATH, LONG: 'n'.repeat(180) },
    });
    assert.equal(made.code, 0, made.stderr);
    for (const program of [bottleInit, built.sanitized]) {
      await using to = await temporary();
      const packed = join(to.path, 'archive.tar');
      const { code, stderr } = await pack(program, join(from.path, 'top'), packed);
      assert.deepEqual([code, stderr], [0, '']);
      await mkdir(join(to.path, 'out'));
      const tar = await run('tar', [
        '--warning=no-timestamp',
        '--same-owner',
        '-xpf',
        packed,
        '-C',
        join(to.path, 'out'),
      ]);
      assert.deepEqual([tar.code, tar.stderr], [0, '']);
      const format = String.raw`%P %y %m %U:%G %s %T@ %l\n`;
      const list = async (path: string) => {
        const { stdout } = await run('sh', ['-c', `find top -printf '${format}' | sort`], { cwd: path });
        return stdout.replaceAll(/(-?\d+)\.\d{10}/g, '$1').replaceAll(/^(\S* d \S+ \S+) \d+/gm, '$1');
      };
      assert.equal(await list(join(to.path, 'out')), await list(from.path));
      const files = 'find top -type f -exec md5sum {} + | sort; stat -c "%t %T" top/null top/block';
      const sums = async (path: string) => (await run('sh', ['-c', files], { cwd: path })).stdout;
      assert.equal(await sums(join(to.path, 'out')), await sums(from.path));
    }
  });

  test('what it packs, unpack unpacks', async () => {
    await using from = await temporary();
    const script = tree
      .replace('truncate -s 9G huge; chmod 600 huge; ', '')
      .replace(/mkfifo.*mknod block b 259 70000; /, '');
    const env = { PATH: process.env.PATH, LONG: 'n'.repeat(180) };
    const made = await run('sh', ['-ec', script], { cwd: from.path, env });
    assert.equal(made.code, 0, made.stderr);
    await mkdir(join(from.path, 'out'));
    const through =
      'set -o pipefail; "$0" archive "$1/top" | "$0" unpack "$1/out"; diff -r --no-dereference "$1/top" "$1/out/top"';
    const { code, stdout, stderr } = await run('bash', ['-ec', through, bottleInit, from.path]);
    assert.deepEqual([code, stdout, stderr], [0, '', '']);
  });

  test('a file of 9 GiB is announced as such', async () => {
    await using from = await temporary();
    await writeFile(join(from.path, 'huge'), '');
    await truncate(join(from.path, 'huge'), 9 * 2 ** 30);
    const script = '"$0" archive "$1" | head -c 4096 | tar -tvf - 2>&1';
    const { stdout } = await run('bash', ['-c', script, bottleInit, join(from.path, 'huge')]);
    assert.match(stdout, / 9663676416 .* huge\n/);
  });

  test('one file, a symlink, and a directory behind a symlink among the parents', async () => {
    await using from = await temporary();
    const script = 'mkdir -p real/dir; echo x > real/dir/file; ln -s real alias; ln -s dir real/link';
    await run('sh', ['-ec', script], { cwd: from.path });
    for (const [path, expected] of [
      ['alias/dir/file', 'file\n'],
      ['alias/dir//', 'dir/\ndir/file\n'],
      ['real/link', 'link\n'],
      ['real/link/', 'link\n'],
      ['alias', 'alias\n'],
    ] as const) {
      const packed = join(from.path, 'archive.tar');
      const { code, stderr } = await pack(bottleInit, join(from.path, path), packed);
      assert.deepEqual([code, stderr], [0, '']);
      const { stdout } = await run('tar', ['-tf', packed]);
      assert.equal(stdout, expected, path);
    }
  });

  test('no such path is 1; what has no name, or cannot be read or written, is 125', async () => {
    await using from = await temporary();
    await writeFile(join(from.path, 'file'), 'x');
    for (const path of ['missing', 'missing/further', 'file/further']) {
      const { code, stdout, stderr } = await run(bottleInit, ['archive', join(from.path, path)]);
      assert.deepEqual([code, stdout], [1, '']);
      assert.equal(stderr, `bottle-init: no such path: ${join(from.path, path)}\n`);
    }
    const up = await run(bottleInit, ['archive', `${from.path}/..`]);
    assert.equal(up.code, 125);
    assert.match(up.stderr, /does not end with a name/);
    const unreadable = 'chmod 000 "$1"/file; chmod 755 "$1"; exec setpriv --reuid=65534 "$0" archive "$1"';
    const closed = await run('sh', ['-c', unreadable, bottleInit, from.path]);
    assert.equal(closed.code, 125);
    assert.match(closed.stderr, /^bottle-init: cannot archive .*\/file: Permission denied\n$/);
    const full = await run('sh', ['-c', '"$0" archive "$1" > /dev/full', bottleInit, '/etc']);
    assert.equal(full.code, 125);
    assert.match(full.stderr, /cannot write the archive: No space left on device/);
  });

  test('sockets and other mounts are left out, also one of the same file system', async () => {
    await using from = await temporary();
    await mkdir(join(from.path, 'top/mounted'), { recursive: true });
    await mkdir(join(from.path, 'top/bound'));
    await mkdir(join(from.path, 'elsewhere/deep'), { recursive: true });
    const server = createServer().listen(join(from.path, 'top/socket'));
    await once(server, 'listening');
    try {
      const script = `mount -t tmpfs none "$1/top/mounted"; touch "$1/top/mounted/file"
        mount --bind "$1/elsewhere" "$1/top/bound"; "$0" archive "$1/top" | tar -tf - | sort`;
      const { stdout } = await run('unshare', ['-m', 'sh', '-ec', script, bottleInit, from.path]);
      assert.equal(stdout, 'top/\ntop/bound/\ntop/mounted/\n');
    } finally {
      server.close();
    }
  });

  test('a file that shrinks meanwhile is filled up with zeros', async () => {
    await using from = await temporary();
    const path = join(from.path, 'file');
    await writeFile(path, Buffer.alloc(4_000_000, 'x'));
    const child = spawn(bottleInit, ['archive', path], { stdio: ['ignore', 'pipe', 'inherit'] });
    // It waits for its reader, with the header and the first of the data under way.
    await sleep(300);
    await truncate(path, 1_000_000);
    const pieces: Buffer[] = [];
    child.stdout.on('data', (piece: Buffer) => pieces.push(piece));
    assert.deepEqual(await once(child, 'close'), [0, null]);
    const archive = Buffer.concat(pieces);
    assert.equal(archive.length, 512 + 4_000_256 + 1024);
    const rest = Buffer.alloc(3_000_000);
    const expected = createHash('md5').update(Buffer.alloc(1_000_000, 'x')).update(rest).digest('hex');
    assert.equal(createHash('md5').update(archive.subarray(512, 4_000_512)).digest('hex'), expected);
  });
});
