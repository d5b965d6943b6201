import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HardlinkBroken, PathEscapes, PathsSprawl, PathTooLong, SymlinkLoop } from '../../src/oci/errors.ts';
import { described, filesOf, flattenedTars } from './flattened.ts';
import { applyLayers } from './layer-model.ts';
import { type BuildEntry, endOfArchive, entryBytes, fixChecksum, tarOf } from './tar-builder.ts';
import { unpack } from './tar-unpack.ts';
import { collect } from './temporary.ts';

describe('a stack of layers that no build makes', () => {
  test('puts an entry where its path leads now, not where it led before', async () => {
    const directory = (path: string): BuildEntry => ({ path, type: '5' });
    const link = (path: string, to: string): BuildEntry => ({ path, type: '2', link: to });
    const cases: Record<string, [BuildEntry[], string[]]> = {
      'the link became a directory': [
        [directory('c'), link('a', 'c'), { path: 'a/f1' }, directory('a'), { path: 'a/f2' }],
        ['a', 'a/f2', 'c', 'c/f1'],
      ],
      'the link became another': [
        [
          ...[directory('c'), directory('d'), link('a', 'c')],
          ...[{ path: 'a/f1' }, link('a', 'd'), { path: 'a/f2' }],
        ],
        ['a', 'c', 'c/f1', 'd', 'd/f2'],
      ],
      'the directory around the link went': [
        [
          ...[directory('c'), link('d/a', '../c'), { path: 'd/a/f1' }],
          ...[{ path: 'd' }, { path: 'd/a/f2' }],
        ],
        ['c', 'c/f1', 'd', 'd/a', 'd/a/f2'],
      ],
    };
    for (const [name, [layer, expected]] of Object.entries(cases)) {
      const files = await filesOf([layer]);
      assert.deepEqual([...files.keys()].sort(), expected, name);
      assert.deepEqual(described(files), described(applyLayers([layer])), name);
    }
  });

  test('forgets a directory that a later layer deletes, however many files it has', async () => {
    const empty = entryBytes({ path: 'd/123456' });
    const many = Buffer.alloc(130_000 * empty.length + endOfArchive.length);
    for (let number = 0; number < 130_000; number++) {
      const at = number * empty.length;
      empty.copy(many, at);
      many.write(`d/${String(number).padStart(6, '0')}`, at, 'latin1');
      fixChecksum(many, at);
    }
    const gone = tarOf([{ path: '.wh.d' }, { path: 'kept' }]);
    const files = await flattenedTars([many, gone], async (blob) =>
      unpack(await collect(blob.read(0, blob.size))),
    );
    assert.deepEqual([...files.keys()], ['kept']);
  });

  test('is refused when its symbolic links make a path that Linux cannot hold', async () => {
    const deep = 'd/'.repeat(1500);
    const layer: BuildEntry[] = [
      { path: 'one', type: '2', link: deep },
      { path: `${deep}two`, type: '2', link: deep },
      { path: 'one/file' },
    ];
    const files = await filesOf([layer]);
    assert.ok(files.has(`${deep}file`));
    await assert.rejects(filesOf([[...layer, { path: 'one/two/file' }]]), PathTooLong);
  });

  test('is refused when it implies far more than it holds', async () => {
    const deep = Array.from({ length: 40 }, (_, number) => `${number}/${'d/'.repeat(1500)}file`);
    const sprawling = deep.map((path): BuildEntry => ({ path }));
    assert.equal((await filesOf([sprawling.slice(0, 2)])).size, 2 * 1502);
    await assert.rejects(filesOf([sprawling]), PathsSprawl);
    const behind: BuildEntry = { path: 's', type: '2', link: 'd/'.repeat(1500) };
    const moved = Array.from({ length: 12_000 }, (_, number): BuildEntry => ({ path: `s/${number}` }));
    await assert.rejects(filesOf([[behind, ...moved]]), PathsSprawl);
  });

  test('is refused when a whiteout points outside, a link to nowhere or in a circle', async () => {
    await assert.rejects(filesOf([[{ path: 'a/.wh...' }]]), PathEscapes);
    await assert.rejects(filesOf([[{ path: 'a', type: '1', link: 'b' }]]), HardlinkBroken);
    await assert.rejects(
      filesOf([
        [
          { path: 'd', type: '5' },
          { path: 'a', type: '1', link: 'd' },
        ],
      ]),
      HardlinkBroken,
    );
    const circle: BuildEntry[] = [
      { path: 'a', type: '2', link: 'b' },
      { path: 'b', type: '2', link: 'a' },
      { path: 'a/x' },
    ];
    await assert.rejects(filesOf([circle]), SymlinkLoop);
  });
});
