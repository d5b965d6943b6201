import assert from 'node:assert/strict';
import { mkdir, open, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { PathEscapes, PathTooLong, TarMalformed, TarUnsupported } from '../../src/oci/errors.ts';
import { TarIndex } from '../../src/oci/tar-index.ts';
import { normalisePath, TarIndexer } from '../../src/oci/tar-indexer.ts';
import { run } from '../../src/process/run.ts';
import { type BuildEntry, endOfArchive, entryBytes, paxRecord, special, tarOf } from './tar-builder.ts';
import { temporaryDirectory } from './temporary.ts';

function indexOf(tar: Buffer, options = { vouched: false }): TarIndex {
  const indexer = new TarIndexer();
  indexer.write(tar);
  return indexer.end(options);
}

function entriesOf(index: TarIndex) {
  return Array.from({ length: index.count }, (_, entry) => index.entry(entry));
}

const partArb = fc.stringMatching(/^[a-z\x80-\xff]{1,60}$/);
const entryArb: fc.Arbitrary<BuildEntry> = fc
  .record({
    path: fc.array(partArb, { minLength: 1, maxLength: 6 }).map((parts) => parts.join('/')),
    type: fc.constantFrom('0', '\0', '1', '2', '3', '4', '5', '6', '7'),
    data: fc.uint8Array({ maxLength: 1500 }).map((bytes) => Buffer.from(bytes)),
    link: fc.array(partArb, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
    long: fc.constantFrom('pax', 'gnu'),
    pax: fc.option(fc.constant({ 'SCHILY.xattr.user.x': 'y' }), { nil: {} }),
  })
  .map((entry) => ('123456'.includes(entry.type) ? { ...entry, data: Buffer.alloc(0) } : entry));

describe('a tar index', () => {
  test('has what was written, at its place, whatever the format', () => {
    fc.assert(
      fc.property(fc.array(entryArb, { maxLength: 12 }), (entries) => {
        const tar = tarOf(entries);
        const found = entriesOf(indexOf(tar));
        assert.equal(found.length, entries.length);
        let start = 0;
        for (const [number, entry] of entries.entries()) {
          const record = found[number]!;
          const length = entryBytes(entry).length;
          const data = entry.data ?? Buffer.alloc(0);
          assert.equal(record.path, entry.path);
          assert.equal(record.type, entry.type === '\0' ? '0' : entry.type);
          assert.equal(record.link, entry.type === '1' || entry.type === '2' ? entry.link : '');
          assert.equal(record.start, start);
          assert.equal(record.size, data.length);
          assert.ok(tar.subarray(record.dataStart, record.dataStart + record.size).equals(data));
          assert.equal(record.irregular, false);
          start += length;
        }
      }),
    );
  });

  test('does not depend on how the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(entryArb, { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 1400 }), { minLength: 1, maxLength: 20 }),
        (entries, cuts) => {
          const tar = tarOf(entries);
          const indexer = new TarIndexer();
          for (let at = 0, turn = 0; at < tar.length; turn++) {
            const length = cuts[turn % cuts.length]!;
            indexer.write(Buffer.from(tar.subarray(at, at + length)));
            at += length;
          }
          assert.deepEqual(entriesOf(indexer.end({ vouched: false })), entriesOf(indexOf(tar)));
        },
      ),
    );
  });

  test('survives being written and read, and shows any damage', () => {
    fc.assert(
      fc.property(
        fc.array(entryArb, { maxLength: 8 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (entries, at, flip) => {
          const index = indexOf(tarOf(entries));
          const file = Buffer.concat(index.encode());
          const read = TarIndex.decode(file);
          assert.deepEqual(entriesOf(read!), entriesOf(index));
          assert.equal(read?.archiveSize, index.archiveSize);
          const place = at % file.length;
          assert.equal(TarIndex.decode(file.subarray(0, place)), undefined);
          file[place] = file[place]! ^ flip;
          assert.equal(TarIndex.decode(file), undefined);
        },
      ),
    );
  });

  for (const format of ['v7', 'ustar', 'gnu', 'posix', 'oldgnu']) {
    test(`agrees with GNU tar on an archive of format ${format}`, async () => {
      await using directory = await temporaryDirectory();
      const tree = join(directory.path, 'tree');
      const long = format === 'v7' ? 'short' : 'd'.repeat(70);
      const deep = join(tree, long, format === 'v7' ? 'deep' : 'e'.repeat(70));
      await mkdir(deep, { recursive: true });
      await writeFile(join(deep, 'file'), 'x'.repeat(1000));
      await writeFile(join(tree, Buffer.from([0x66, 0xe9, 0xff]).toString('latin1')), 'odd name');
      await symlink(`${long}/somewhere`, join(tree, 'link'));
      const archive = join(directory.path, 'archive.tar');
      const { code, stderr } = await run('tar', [`--format=${format}`, '-cf', archive, '-C', tree, '.']);
      assert.equal(code, 0, stderr);
      const listing = await run('tar', ['--quoting-style=literal', '-tf', archive]);
      await using file = await open(archive);
      const names = entriesOf(indexOf(await file.readFile())).map(({ path }) =>
        Buffer.from(path, 'latin1').toString('utf8'),
      );
      assert.deepEqual(
        names,
        listing.stdout
          .trim()
          .split('\n')
          .map((name) => normalisePath(name)),
      );
    });
  }

  test('takes a size in base 256', () => {
    const sizeField = Buffer.from([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    const tar = Buffer.concat([
      entryBytes({ path: 'a', data: Buffer.from('hello'), sizeField }),
      endOfArchive,
    ]);
    assert.equal(indexOf(tar).size(0), 5);
  });

  test('joins the prefix where there is one, also the one that an old Go wrote into a GNU header', () => {
    const path = `${'p'.repeat(90)}/${'n'.repeat(60)}`;
    assert.equal(indexOf(tarOf([{ path, long: 'prefix' }])).path(0), path);
    assert.equal(indexOf(tarOf([{ path, long: 'prefix', magic: 'gnu' }])).path(0), path);
  });

  test('takes the pax size over the one in the header', () => {
    const tar = tarOf([
      { path: 'a', data: Buffer.from('hello'), size: 0, pax: { size: '5' } },
      { path: 'b' },
    ]);
    assert.deepEqual(
      entriesOf(indexOf(tar)).map(({ path, size }) => [path, size]),
      [
        ['a', 5],
        ['b', 0],
      ],
    );
  });

  test('skips a global header that says nothing of entries, and refuses one that does', () => {
    const comment = Buffer.concat([special('g', paxRecord(['comment', 'abc'])), tarOf([{ path: 'a' }])]);
    assert.deepEqual(
      entriesOf(indexOf(comment)).map(({ path, start }) => [path, start]),
      [['a', 1024]],
    );
    const named = Buffer.concat([special('g', paxRecord(['path', 'b'])), tarOf([{ path: 'a' }])]);
    assert.throws(() => indexOf(named), TarUnsupported);
  });

  test('marks what readers disagree on', () => {
    const irregular = (entry: BuildEntry) => indexOf(tarOf([entry])).irregular(0);
    assert.ok(irregular({ path: '/etc/passwd' }));
    assert.ok(irregular({ path: 'link', type: '1', link: '/etc/passwd' }));
    assert.ok(irregular({ path: 'file/', type: '0' }));
    assert.ok(irregular({ path: 'directory/', type: '5', size: 512 }));
    assert.ok(!irregular({ path: './directory/', type: '5' }));
  });

  test('refuses paths that lead out', () => {
    for (const path of ['..', '../a', 'a/../b', 'a/..', '/..']) {
      assert.throws(() => indexOf(tarOf([{ path }])), PathEscapes, path);
    }
    assert.throws(() => indexOf(tarOf([{ path: 'a', type: '1', link: '../b' }])), PathEscapes);
    assert.doesNotThrow(() =>
      indexOf(tarOf([{ path: '..a/b..' }, { path: 'l', type: '2', link: '../../b' }])),
    );
  });

  test('refuses names that Linux cannot hold, and takes the longest that it can', () => {
    const path = (length: number) => 'abc/'.repeat(length / 4 + 1).slice(0, length);
    const part = (length: number) => `d/${'n'.repeat(length)}/f`;
    const hidden = (length: number) => `d/.wh.${'n'.repeat(length)}`;
    const link = (type: string, target: string): BuildEntry => ({ path: 'link', type, link: target });
    const cases: [BuildEntry, BuildEntry][] = [
      [{ path: path(4095) }, { path: path(4097) }],
      [{ path: part(255) }, { path: part(256) }],
      [{ path: hidden(255) }, { path: hidden(256) }],
      [link('1', path(4095)), link('1', path(4097))],
      [link('1', part(255)), link('1', part(256))],
      [link('2', 'n'.repeat(4096)), link('2', 'n'.repeat(4097))],
    ];
    for (const long of ['pax', 'gnu'] as const) {
      for (const [fits, tooLong] of cases) {
        assert.doesNotThrow(() => indexOf(tarOf([{ ...fits, long }])));
        assert.throws(() => indexOf(tarOf([{ ...tooLong, long }])), PathTooLong);
      }
    }
  });

  test('gives the last part of every path', () => {
    fc.assert(
      fc.property(fc.array(entryArb, { maxLength: 12 }), (entries) => {
        const index = indexOf(tarOf(entries));
        for (const [number, { path }] of entries.entries()) {
          assert.equal(index.name(number), path.split('/').at(-1));
        }
      }),
    );
  });

  test('refuses sparse files of every kind', async () => {
    assert.throws(() => indexOf(tarOf([{ path: 'a', type: 'S' }])), TarUnsupported);
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'sparse');
    await using sparse = await open(path, 'w');
    await sparse.truncate(1024 * 1024);
    await sparse.write('x', 1024 * 1024);
    for (const format of ['gnu', 'posix']) {
      const archive = join(directory.path, `${format}.tar`);
      await run('tar', ['-S', `--format=${format}`, '-cf', archive, '-C', directory.path, 'sparse']);
      await using file = await open(archive);
      const tar = await file.readFile();
      assert.throws(() => indexOf(tar), TarUnsupported, format);
    }
  });

  test('refuses every truncation when nobody vouches for the bytes', () => {
    const entries = [{ path: 'a', data: Buffer.alloc(700, 1) }, { path: 'x'.repeat(200) }];
    const tar = tarOf(entries);
    for (let length = 0; length < tar.length; length += 1) {
      assert.throws(() => indexOf(tar.subarray(0, length)), TarMalformed, `${length} bytes`);
    }
  });

  test('takes what engines take when a digest vouches for it: no end marker, or something behind it', () => {
    const entry = entryBytes({ path: 'a' });
    assert.equal(indexOf(entry, { vouched: true }).count, 1);
    assert.equal(indexOf(Buffer.alloc(0), { vouched: true }).count, 0);
    const trailed = Buffer.concat([entry, endOfArchive, Buffer.from('rest')]);
    assert.equal(indexOf(trailed, { vouched: true }).count, 1);
    assert.throws(() => indexOf(trailed), TarMalformed);
    assert.throws(() => indexOf(entry.subarray(0, 300), { vouched: true }), TarMalformed);
    assert.equal(indexOf(Buffer.concat([entry, endOfArchive, Buffer.alloc(9000)])).count, 1);
  });

  test('refuses what is no archive, or says two things', () => {
    const changed = tarOf([{ path: 'a' }]);
    changed[3] = 0x41;
    const cases: Record<string, Buffer> = {
      checksum: changed,
      'lone zero block': Buffer.concat([Buffer.alloc(512), tarOf([{ path: 'a' }])]),
      'nameless file': tarOf([{ path: '.' }]),
      'named twice': Buffer.concat([special('L', 'b\0'), tarOf([{ path: 'a', pax: { path: 'c' } }])]),
      'two pax headers': Buffer.concat([
        special('x', paxRecord(['a', 'b'])),
        tarOf([{ path: 'a', pax: { c: 'd' } }]),
      ]),
      'header without entry': Buffer.concat([special('x', paxRecord(['path', 'b'])), endOfArchive]),
      'bad pax record': Buffer.concat([special('x', '99 path=b\n'), tarOf([{ path: 'a' }])]),
      'bad pax size': tarOf([{ path: 'a', pax: { size: '-1' } }]),
      'negative size': tarOf([{ path: 'a', sizeField: Buffer.alloc(12, 0xff) }]),
    };
    for (const [name, tar] of Object.entries(cases)) assert.throws(() => indexOf(tar), TarMalformed, name);
  });
});
