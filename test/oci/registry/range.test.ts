import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseChunkRange, parseRange } from '../../../src/oci/registry/range.ts';

describe('a Range header', () => {
  const cases: [string | undefined, number, ReturnType<typeof parseRange>][] = [
    [undefined, 10, undefined],
    ['bytes=0-0', 10, { start: 0, end: 1 }],
    ['bytes=0-9', 10, { start: 0, end: 10 }],
    ['bytes=3-100', 10, { start: 3, end: 10 }],
    ['bytes=9-', 10, { start: 9, end: 10 }],
    ['bytes=-4', 10, { start: 6, end: 10 }],
    ['bytes=-40', 10, { start: 0, end: 10 }],
    ['Bytes=1-2', 10, { start: 1, end: 3 }],
    ['bytes=10-', 10, 'unsatisfiable'],
    ['bytes=10-12', 10, 'unsatisfiable'],
    ['bytes=-0', 10, 'unsatisfiable'],
    ['bytes=0-', 0, 'unsatisfiable'],
    ['bytes=-5', 0, 'unsatisfiable'],
    ['bytes=99999999999999999999-', 10, 'unsatisfiable'],
    ['bytes=5-3', 10, undefined],
    ['bytes=-', 10, undefined],
    ['bytes=a-b', 10, undefined],
    ['bytes=0-1,4-5', 10, undefined],
    ['items=0-1', 10, undefined],
    ['bytes 0-1', 10, undefined],
  ];
  for (const [header, size, expected] of cases) {
    test(`${header} of ${size} bytes is ${JSON.stringify(expected)}`, () => {
      assert.deepEqual(parseRange(header, size), expected);
    });
  }

  test('always lies within the body and is never empty', () => {
    const bound = fc.option(fc.nat(50), { nil: '' });
    fc.assert(
      fc.property(bound, bound, fc.nat(40), (first, last, size) => {
        const range = parseRange(`bytes=${first}-${last}`, size);
        if (typeof range === 'object')
          assert.ok(range.start >= 0 && range.start < range.end && range.end <= size);
      }),
    );
  });
});

describe("a chunk's Content-Range", () => {
  test('is start and last byte, with or without unit and total', () => {
    for (const header of ['0-4', 'bytes 0-4', 'bytes=0-4', 'bytes 0-4/5', '0-4/*']) {
      assert.deepEqual(parseChunkRange(header), { start: 0, end: 5 });
    }
  });

  test('is refused when backwards or no range', () => {
    for (const header of ['4-0', '', '-4', '4-', 'a-b', '0-4,6-8']) {
      assert.equal(parseChunkRange(header), undefined);
    }
  });
});
