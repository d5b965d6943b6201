import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseBytes } from '../../src/definitions/size.ts';

test('sizes are read in the spellings that people use, and nothing else', () => {
  assert.deepEqual(['500M', '10GB', '2 GiB', '512MiB', '7'].map(parseBytes), [
    500e6,
    10e9,
    2 * 2 ** 30,
    512 * 2 ** 20,
    7,
  ]);
  for (const wrong of ['', '-1', '10 apples', 'M', '1e3', '0x10']) {
    assert.equal(parseBytes(wrong), undefined, wrong);
  }
});
