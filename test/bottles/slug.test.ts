import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isSlug, newSlug } from '../../src/bottles/slug.ts';

test('every slug that is made is one, and no two of a thousand are the same', () => {
  const made = new Set(Array.from({ length: 1000 }, () => newSlug('demo')));
  assert.equal(made.size, 1000);
  for (const slug of made) assert.ok(isSlug(slug), slug);
});

test('what is part of a path, a container name and a branch holds nothing that any of them would read', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      if (isSlug(text)) assert.match(text, /^[a-z0-9-]{7,63}$/);
    }),
  );
  for (const text of ['../x-abcde', 'a-abcde/', 'A-abcde', 'a-abcd', '-abcde', 'a-abcde\n', '.a-abcde']) {
    assert.equal(isSlug(text), false, JSON.stringify(text));
  }
});
