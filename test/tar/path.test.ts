import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { pathInside, staysInside } from '../../src/tar/path.ts';
import { temporary, file, link, archive, raw, end, unpack } from './archive.ts';

describe('paths', () => {
  const part = fc.oneof(
    fc.constantFrom('..', '.', '', 'a', 'b', ' ', '...', '..a', '\\', '.git'),
    fc.string({ maxLength: 5 }),
  );
  const anyPath = fc.array(part, { maxLength: 8 }).map((parts) => parts.join('/'));

  test('a path that is taken lies below the root, and stands for itself', () => {
    fc.assert(
      fc.property(anyPath, (path) => {
        let inside: string;
        try {
          inside = pathInside(path);
        } catch {
          return;
        }
        const full = resolve('/root/of/it', inside);
        assert.ok(full === '/root/of/it' || full.startsWith('/root/of/it/'));
        assert.equal(full, inside === '' ? '/root/of/it' : `/root/of/it/${inside}`);
        assert.equal(pathInside(inside), inside);
      }),
      { numRuns: 5000 },
    );
  });

  test('a link that stays inside by its text resolves below the root', () => {
    fc.assert(
      fc.property(anyPath, anyPath, (path, target) => {
        const at = resolve('/', path);
        if (at === '/' || !staysInside(at.slice(1), target)) return;
        const full = resolve('/root', `.${at}`, '..', target);
        assert.ok(full === '/root' || full.startsWith('/root/'), full);
      }),
      { numRuns: 5000 },
    );
  });

  test('an archive of any entries in any order writes only below where it is unpacked', async () => {
    const name = fc
      .array(fc.constantFrom('a', 'b', 'c', '..', '.'), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join('/'));
    const target = fc.oneof(
      name,
      name.map((one) => `../${one}`),
      name.map((one) => `/${one}`),
    );
    const entry = fc.oneof(
      name.map((one) => raw('0', one, { data: Buffer.from('x') })),
      name.map((one) => raw('5', one)),
      fc.tuple(name, target).map(([one, to]) => raw('2', one, { link: to })),
      fc.tuple(name, target).map(([one, to]) => raw('1', one, { link: to })),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(entry, { maxLength: 12 }),
        fc.constantFrom('any' as const, 'inside' as const),
        async (entries, symlinks) => {
          using directory = temporary();
          const to = join(directory.path, 'x/to');
          mkdirSync(to, { recursive: true });
          await unpack(Buffer.concat([...entries, end]), to, { symlinks }).catch(
            (error: { tag?: string }) => {
              assert.equal(error.tag, 'ArchiveRefused', inspect(error));
            },
          );
          assert.deepEqual(readdirSync(directory.path), ['x']);
          assert.deepEqual(readdirSync(join(directory.path, 'x')), ['to']);
          assert.ok(!existsSync('/a') && !existsSync('/b') && !existsSync('/c'));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('any bytes at all are unpacked or refused', async () => {
    const valid = await archive([file('a', 'x'.repeat(600)), link('l', 'a'), file(`${'d/'.repeat(60)}x`)]);
    await fc.assert(
      fc.asyncProperty(
        fc.nat(valid.length - 1),
        fc.integer({ min: 1, max: 255 }),
        fc.nat(valid.length),
        async (at, change, cut) => {
          using directory = temporary();
          const bytes = Buffer.from(valid.subarray(0, Math.max(cut, at + 1)));
          bytes[at] = (bytes[at] ?? 0) ^ change;
          await unpack(bytes, directory.path).catch((error: { tag?: string }) => {
            assert.equal(error.tag, 'ArchiveRefused', inspect(error));
          });
        },
      ),
      { numRuns: 300 },
    );
  });
});
