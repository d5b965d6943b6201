import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import * as v from 'valibot';
import { count, DoesNotFit, fit, held, ifFits, int, number, options, recordOf } from '../src/schema.ts';

const secret = 'hunter2-4711';

describe('what is said of a value that does not fit', () => {
  const schema = v.variant('kind', [
    v.object({
      kind: v.literal('a'),
      text: v.pipe(v.string(), v.maxLength(3)),
      one: v.picklist(['x', 'y']),
      number,
      int,
      count,
      yes: v.boolean(),
      list: v.array(v.string()),
      pair: v.strictTuple([v.string(), v.string()]),
      free: recordOf(v.pipe(v.string(), v.regex(/^a/))),
      own: v.custom<string>((value) => value === 'x'),
      checked: v.pipe(
        v.string(),
        v.check((value) => value === 'x'),
      ),
      optional: v.optional(v.number()),
      nullish: v.nullish(v.strictObject({})),
      needed: v.string(),
    }),
  ]);
  const keys = Object.keys(schema.options[0].entries).filter((key) => key !== 'kind');

  for (const [as, value] of [
    ['a text', secret],
    ['a number', 47_114_711.5],
    ['texts', [secret, secret, secret]],
    ['a key', { [secret]: 1 }],
    ['a value', { a: secret }],
  ] as const) {
    test(`never holds ${as} of it`, () => {
      for (const kind of ['a', value]) {
        const wrong = { kind, ...Object.fromEntries(keys.slice(0, -1).map((key) => [key, value])) };
        const result = held(schema, wrong);
        assert.ok('misfits' in result && result.misfits.length > 0);
        const error = new DoesNotFit(result.misfits);
        const messages = result.misfits.map(({ message }) => message).join('\n');
        // Keys are in the place, as they are in every message about a file.
        const all = as === 'a key' ? messages : inspect([error, error.stack, result], { depth: 9 });
        assert.ok(!/hunter2|47_?114_?711|eceived/.test(all), all);
      }
    });
  }

  test('names the place, what was expected, and what is missing', () => {
    const Schema = v.object({ a: v.array(v.object({ b: int, c: v.optional(v.string(), '') })) });
    assert.throws(() => fit(Schema, { a: [{ b: '1' }, { c: 2 }] }), {
      name: 'DoesNotFit',
      message: 'a.0.b: expected number; a.1.b: missing; a.1.c: expected string',
    });
    assert.throws(() => fit(Schema, null), { message: 'expected Object' });
    assert.throws(() => fit(Schema, { a: [{ b: 1.5 }] }), { message: 'a.0.b: not what belongs there' });
    assert.throws(() => fit(v.pipe(v.string('a name'), v.minLength(1, 'empty')), ''), { message: 'empty' });
  });
});

test('a value that does not fit is not handed out in part', () => {
  assert.equal(ifFits(v.object({ a: v.string(), b: int }), { a: 'x', b: 'y' }), undefined);
  assert.deepEqual(ifFits(v.object({ a: v.string() }), { a: 'x', b: 'y' }), { a: 'x' });
});

test('a list is no object, not even where every key may be absent', () => {
  for (const schema of [recordOf(v.unknown()), options({ a: v.optional(v.string()) })]) {
    assert.deepEqual(ifFits(schema, {}), {});
    for (const value of [[], ['x'], null, 'x', 1]) assert.equal(ifFits(schema, value), undefined);
  }
});

test('numbers are those that JSON can say, and whole ones those that are exact', () => {
  for (const text of ['1e999', '"1"', 'null'])
    assert.equal(ifFits(number, JSON.parse(text)), undefined, text);
  assert.equal(ifFits(number, NaN), undefined);
  assert.equal(ifFits(number, -1.5), -1.5);
  for (const value of [1.5, 2 ** 53, -(2 ** 53), NaN, Infinity]) assert.equal(ifFits(int, value), undefined);
  assert.equal(ifFits(int, -1), -1);
  assert.equal(ifFits(count, -1), undefined);
  assert.equal(ifFits(count, 0), 0);
});

test('no key of a record reaches a prototype', () => {
  const json: unknown = JSON.parse('{"__proto__": {"a": "x"}, "constructor": {"a": "y"}, "b": {"c": "z"}}');
  const found = fit(recordOf(recordOf(v.string())), json);
  assert.deepEqual(Object.keys(found), ['b']);
  assert.equal(Object.getPrototypeOf(found), Object.prototype);
  assert.equal(({} as { a?: string }).a, undefined);
});
