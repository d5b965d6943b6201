import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { lstat, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { HardlinkBroken, SymlinkLoop } from '../../src/oci/errors.ts';
import { run } from '../../src/process/run.ts';
import { described, filesOf, flattened, type Layers } from './flattened.ts';
import { applyLayers, Refused } from './layer-model.ts';
import { type BuildEntry, tarOf } from './tar-builder.ts';
import type { UnpackedFile } from './tar-unpack.ts';
import { collect } from './temporary.ts';

const nameArb = fc.constantFrom('a', 'b', 'c', `long-${'n'.repeat(120)}`);
const pathArb = fc.array(nameArb, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
const metaArb = fc.record({
  mode: fc.constantFrom(0o644, 0o755, 0o4711),
  uid: fc.constantFrom(0, 7),
  gid: fc.constantFrom(0, 8),
  mtime: fc.integer({ min: 0, max: 2_000_000_000 }),
  pax: fc.constantFrom({}, { 'SCHILY.xattr.user.note': 'kept' }),
  long: fc.constantFrom('pax' as const, 'gnu' as const),
});
const dataArb = fc.uint8Array({ maxLength: 900 }).map((bytes) => Buffer.from(bytes));
const entryArb: fc.Arbitrary<BuildEntry> = fc
  .oneof(
    { weight: 5, arbitrary: fc.record({ path: pathArb, type: fc.constant('0'), data: dataArb }) },
    { weight: 4, arbitrary: fc.record({ path: pathArb, type: fc.constant('5') }) },
    { weight: 4, arbitrary: fc.record({ path: pathArb, type: fc.constant('1'), link: pathArb }) },
    {
      weight: 2,
      arbitrary: fc.record({
        path: pathArb,
        type: fc.constant('2'),
        link: fc.oneof(pathArb, fc.constantFrom('/a', '..', '../b', './c', '../../a/b')),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        path: pathArb,
        type: fc.constantFrom('3', '4'),
        device: fc.constant([1, 3] as [number, number]),
      }),
    },
    {
      weight: 3,
      arbitrary: pathArb.map((path) => ({
        path: path.replace(/([^/]+)$/, '.wh.$1'),
        type: '0',
      })),
    },
    { weight: 1, arbitrary: pathArb.map((path) => ({ path: `${path}/.wh..wh..opq`, type: '0' })) },
    { weight: 1, arbitrary: pathArb.map((path) => ({ path: `${path}/.wh..wh.aufs`, type: '0' })) },
  )
  .chain((entry) => metaArb.map((meta) => ({ ...meta, ...entry })));
const layersArb = fc.array(fc.array(entryArb, { maxLength: 9 }), { minLength: 1, maxLength: 4 });

function modelOf(layers: Layers): Map<string, UnpackedFile> | undefined {
  try {
    return applyLayers(layers);
  } catch (error) {
    if (error instanceof Refused) return undefined;
    throw error;
  }
}

/** The layers without the links that nothing can make sense of, so that what is left is always worth a look. */
function sound(layers: Layers): Layers {
  const kept: BuildEntry[][] = [];
  for (const entries of layers) {
    const layer: BuildEntry[] = [];
    kept.push(layer);
    for (const entry of entries) {
      layer.push(entry);
      if (modelOf(kept) === undefined) layer.pop();
    }
  }
  return kept;
}

describe('a flattened image', () => {
  test('unpacks to what its layers make, by a model of them', async () => {
    let files = 0;
    await fc.assert(
      fc.asyncProperty(layersArb, async (generated) => {
        const layers = sound(generated);
        const expected = applyLayers(layers);
        files += expected.size;
        assert.deepEqual(described(await filesOf(layers)), described(expected));
      }),
      { numRuns: 1500 },
    );
    assert.ok(files > 3000, `only ${files} files were compared`);
  });

  test('is refused where the model refuses, and only there', async () => {
    await fc.assert(
      fc.asyncProperty(layersArb, async (layers) => {
        const expected = modelOf(layers);
        const outcome = await filesOf(layers).catch((error: unknown) => {
          assert.ok(error instanceof HardlinkBroken || error instanceof SymlinkLoop, String(error));
        });
        assert.equal(outcome === undefined, expected === undefined);
      }),
      { numRuns: 300 },
    );
  });

  test('unpacks the same with GNU tar', async () => {
    await fc.assert(
      fc.asyncProperty(layersArb, async (generated) => {
        const layers = sound(generated);
        await flattened(layers, async (blob, directory) => {
          const archive = join(directory, 'flat.tar');
          const target = join(directory, 'target');
          await mkdir(target);
          await writeFile(archive, await collect(blob.read(0, blob.size)));
          // Files of upper layers follow after those of lower ones, so directories are finished at the very end.
          const options = ['-p', '--same-owner', '--delay-directory-restore'];
          const { code, stderr } = await run('tar', [...options, '-xf', archive, '-C', target]);
          assert.equal(code, 0, stderr);
          assert.deepEqual(described(await onDisk(target)), described(asOnDisk(applyLayers(layers))));
        });
      }),
      { numRuns: 40 },
    );
  });

  test('gives any part of itself as often as asked, equal to that part of the whole', async () => {
    const data = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 7) & 0xff));
    const many = Array.from({ length: 400 }, (_, number) => ({
      path: `f${number}`,
      data: data.subarray(number, number * 9),
    }));
    const holes = many.filter((_, number) => number % 3 === 0).map(({ path }) => ({ path: `.wh.${path}` }));
    const layers = [many, [{ path: 'big', data: Buffer.concat([data, data, data, data]) }], holes];
    await flattened(layers, async (blob) => {
      const whole = await collect(blob.read(0, blob.size));
      assert.equal(whole.length, blob.size);
      assert.equal(`sha256:${createHash('sha256').update(whole).digest('hex')}`, blob.digest);
      await fc.assert(
        fc.asyncProperty(fc.nat(blob.size), fc.nat(blob.size), async (one, other) => {
          const [start, end] = [Math.min(one, other), Math.max(one, other)];
          assert.ok((await collect(blob.read(start, end))).equals(whole.subarray(start, end)));
        }),
      );
      await assert.rejects(collect(blob.read(0, blob.size + 1)), RangeError);
    });
  });

  test('has the same digest every time, also when read by many at once', async () => {
    const layers = [[{ path: 'a', data: Buffer.alloc(2_000_000, 1) }], [{ path: 'b' }, { path: '.wh.c' }]];
    const digests = await Promise.all([1, 2, 3].map(() => flattened(layers, ({ digest }) => digest)));
    assert.equal(new Set(digests).size, 1);
    await flattened(layers, async (blob) => {
      const readers = Array.from({ length: 8 }, () => collect(blob.read(0, blob.size)));
      for (const bytes of await Promise.all(readers)) assert.ok(bytes.equals((await readers[0])!));
    });
  });

  test('lets a reader leave early and its layers close', async () => {
    await flattened([[{ path: 'a', data: Buffer.alloc(5_000_000, 1) }]], async (blob) => {
      for await (const bytes of blob.read(0, blob.size)) {
        assert.ok(bytes.length > 0);
        break;
      }
    });
  });

  test('carries headers over byte by byte where nothing has to move', async () => {
    const entries: BuildEntry[] = [
      { path: './', type: '5', mode: 0o700, uid: 3 },
      {
        path: './a',
        data: Buffer.from('x'),
        pax: { 'SCHILY.xattr.security.capability': '\x01\xff' },
        mtime: 5,
      },
      { path: './b', type: '1', link: './a' },
    ];
    await flattened([entries], async (blob) => {
      assert.ok((await collect(blob.read(0, blob.size))).equals(tarOf(entries)));
    });
  });

  test('puts the root first, as the last layer describes it', async () => {
    const files = await filesOf([[{ path: 'a' }], [{ path: './', type: '5', mode: 0o711 }]]);
    assert.deepEqual([...files.keys()], ['', 'a']);
    assert.equal(files.get('')?.mode, 0o711);
  });

  test('keeps the data of a hard link when its first name goes, with all its attributes', async () => {
    const long = `d/${'l'.repeat(150)}`;
    for (const kind of ['pax', 'gnu'] as const) {
      const bottom: BuildEntry[] = [
        { path: 'd', type: '5' },
        {
          path: 'd/first',
          data: Buffer.from('content'),
          mode: 0o4755,
          uid: 5,
          pax: { 'SCHILY.xattr.security.capability': 'cap' },
          long: kind,
          magic: kind === 'gnu' ? 'gnu' : 'ustar',
        },
        { path: long, type: '1', link: 'd/first', long: kind },
        { path: 'd/third', type: '1', link: 'd/first', long: kind },
      ];
      const files = await filesOf([bottom, [{ path: 'd/.wh.first' }]]);
      const file = files.get(long);
      assert.equal(file?.content.toString(), 'content');
      assert.equal(file.mode, 0o4755);
      assert.deepEqual(file.extra, { 'SCHILY.xattr.security.capability': 'cap' });
      assert.equal(files.get('d/third'), file);
      assert.ok(!files.has('d/first'));
    }
  });

  test('resolves hard links into what aufs left in layers', async () => {
    const files = await filesOf([
      [
        { path: '.wh..wh.plnk/12.34', data: Buffer.from('shared') },
        { path: 'one', type: '1', link: '.wh..wh.plnk/12.34' },
        { path: 'two', type: '1', link: '.wh..wh.plnk/12.34' },
      ],
    ]);
    assert.deepEqual([...files.keys()], ['one', 'two']);
    assert.equal(files.get('one')?.content.toString(), 'shared');
    assert.equal(files.get('one'), files.get('two'));
  });

  test('makes names that readers disagree on regular', async () => {
    const files = await filesOf([
      [
        { path: '/etc', type: '5', size: 512 },
        { path: '/etc/a', data: Buffer.from('a') },
        { path: '/etc/b', type: '1', link: '/etc/a', size: 1 },
        { path: 'link', type: '2', link: '/etc' },
      ],
    ]);
    assert.deepEqual([...files.keys()], ['etc', 'etc/a', 'etc/b', 'link']);
    assert.equal(files.get('etc/b'), files.get('etc/a'));
    assert.equal(files.get('link')?.link, '/etc');
  });

  test('drops what it is told to, as if a last layer had deleted it', async () => {
    const entries: BuildEntry[] = [
      { path: '.dockerenv' },
      { path: 'etc/mtab', type: '2', link: '/proc/mounts' },
      { path: 'dev/a' },
      { path: 'other/.dockerenv', type: '1', link: '.dockerenv' },
    ];
    const files = await filesOf([entries], { dropPaths: ['.dockerenv', 'dev', 'absent/x'] });
    assert.deepEqual([...files.keys()], ['etc', 'etc/mtab', 'other', 'other/.dockerenv']);
  });

  test('stops when told to', async () => {
    const controller = new AbortController();
    controller.abort(new Error('enough'));
    await assert.rejects(filesOf([[{ path: 'a' }]], { signal: controller.signal }), /enough/);
  });
});

/** What is left of it on a disk: a symbolic link has no mode, and tar leaves extended attributes alone unasked. */
function asOnDisk(files: Map<string, UnpackedFile>): Map<string, UnpackedFile> {
  for (const file of new Set(files.values())) {
    if (file.type === '2') file.mode = 0o777;
    file.extra = {};
  }
  return files;
}

async function onDisk(root: string): Promise<Map<string, UnpackedFile>> {
  const files = new Map<string, UnpackedFile>();
  const inodes = new Map<number, UnpackedFile>();
  const walk = async (path: string): Promise<void> => {
    for (const name of await readdir(join(root, path))) {
      const inner = path === '' ? name : `${path}/${name}`;
      const full = join(root, inner);
      const found = await lstat(full);
      const type = found.isDirectory() ? '5' : found.isSymbolicLink() ? '2' : found.isFile() ? '0' : '3';
      const file = inodes.get(found.ino) ?? {
        type: found.isBlockDevice() ? '4' : type,
        mode: found.mode & 0o7777,
        uid: found.uid,
        gid: found.gid,
        mtime: found.mtimeMs / 1000,
        link: type === '2' ? await readlink(full) : '',
        device:
          found.isBlockDevice() || found.isCharacterDevice() ? `${found.rdev >> 8}:${found.rdev & 0xff}` : '',
        content: found.isFile() ? await readFile(full) : Buffer.alloc(0),
        extra: {},
      };
      inodes.set(found.ino, file);
      files.set(inner, file);
      if (found.isDirectory()) await walk(inner);
    }
  };
  await walk('');
  return files;
}
