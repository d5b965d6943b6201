import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { headSize, looksLikeDocument } from '../../src/oci/document.ts';
import { sha256 } from './registry/flat-image-of.ts';
import { Bench } from './registry/receive-bench.ts';
import { type BuildEntry, tarOf } from './tar-builder.ts';

const nameArb = fc.stringMatching(/^[{[][!-.0-~]{0,98}$/);
const magicArb = fc.constantFrom('ustar' as const, 'gnu' as const, 'v7' as const);

describe('a document is told from a layer', () => {
  test('whatever its JSON is, by any part of its start', () => {
    const jsonArb = fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.array(fc.jsonValue()));
    fc.assert(
      fc.property(jsonArb, fc.integer({ min: 1, max: headSize }), (value, length) => {
        assert.ok(looksLikeDocument(Buffer.from(JSON.stringify(value)).subarray(0, length)));
      }),
    );
  });

  test('whatever the name of the first file in the layer, in every format', () => {
    fc.assert(
      fc.property(nameArb, magicArb, (path, magic) => {
        assert.equal(looksLikeDocument(tarOf([{ path, magic }])), false);
      }),
    );
  });

  test('in a push, however its start is cut', async () => {
    const entries: BuildEntry[] = [
      { path: `{${'n'.repeat(98)}}` },
      { path: 'b', data: Buffer.alloc(70_000) },
    ];
    const bytes = tarOf(entries);
    for (const cuts of [[], [1], [1, 99, 100], [511], [512]]) {
      await using bench = await Bench.open();
      const location = await bench.begin();
      let at = 0;
      for (const cut of [...cuts, bytes.length]) {
        const { status } = await bench.ask(location, { method: 'PATCH', body: bytes.subarray(at, cut) });
        assert.equal(status, 202);
        at = cut;
      }
      const digest = sha256(bytes);
      assert.equal((await bench.ask(`${location}?digest=${digest}`, { method: 'PUT' })).status, 201);
      assert.equal(await bench.store.verify(digest), 'ok');
    }
  });
});
