import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAge, formatBytes, formatDuration, parseDuration } from '../../src/terminal/units.ts';

test('bytes are shown with at most three significant digits', () => {
  assert.equal(formatBytes(0), '0 B');
  assert.equal(formatBytes(999), '999 B');
  assert.equal(formatBytes(1000), '1 kB');
  assert.equal(formatBytes(1_234_567), '1.23 MB');
  assert.equal(formatBytes(698_400_000), '698 MB');
  assert.equal(formatBytes(999_600), '1 MB');
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
      assert.match(formatBytes(bytes), /^\d{1,4}(\.\d{1,2})? (B|kB|MB|GB|TB)$/);
    }),
  );
});

test('durations and ages are one rough figure', () => {
  assert.deepEqual([340, 12_340, 245_000].map(formatDuration), ['340 ms', '12.3 s', '4 min 05 s']);
  assert.deepEqual([59_000, 3 * 3600e3, 12 * 86_400e3].map(formatAge), ['0 min', '3 h', '12 d']);
});

test('times are read in the spellings that people use, and nothing else', () => {
  assert.deepEqual(
    ['90s', '15m', '12h', '30d', '2w'].map(parseDuration),
    [90e3, 900e3, 43_200e3, 2592e6, 1209.6e6],
  );
  for (const wrong of ['', '-1', '10 apples', 'M', '1e3', '0x10']) {
    assert.equal(parseDuration(wrong), undefined, wrong);
  }
});
