import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  frame,
  FrameReader,
  framesOf,
  type FrameName,
  frameTypes,
  maxPayload,
  windowFrame,
} from '../../../src/backends/smolmachines/frames.ts';

const names = Object.keys(frameTypes) as FrameName[];
const someFrames = fc.array(
  fc.record({ name: fc.constantFrom(...names), payload: fc.uint8Array({ maxLength: 300 }) }),
  { maxLength: 12 },
);

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set(at.map((each) => each % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...places, bytes.length].map((end, index) => bytes.subarray(places[index - 1] ?? 0, end));
}

describe('frames', () => {
  test('have their type, their length in four bytes, and their payload', () => {
    assert.deepEqual(frame('data', 'hi'), Buffer.from([0x64, 0, 0, 0, 2, 0x68, 0x69]));
    assert.deepEqual(frame('end'), Buffer.from([0x65, 0, 0, 0, 0]));
    assert.deepEqual(frame('signal', [15] as unknown as Uint8Array), Buffer.from([0x73, 0, 0, 0, 1, 15]));
    assert.deepEqual(windowFrame(30, 0x1234), Buffer.from([0x77, 0, 0, 0, 4, 0, 30, 0x12, 0x34]));
    assert.deepEqual(windowFrame(-1, 70_000).subarray(5), Buffer.from([0, 0, 0xff, 0xff]));
    assert.throws(() => frame('data', Buffer.alloc(maxPayload + 1)), RangeError);
  });

  test('come out as they went in, however the bytes are cut', () => {
    fc.assert(
      fc.property(someFrames, fc.array(fc.nat(5000), { maxLength: 20 }), (sent, at) => {
        const bytes = Buffer.concat(sent.map(({ name, payload }) => frame(name, payload)));
        const reader = new FrameReader();
        const got = cut(bytes, at).flatMap((piece) => reader.push(piece));
        assert.deepEqual(
          got.map(({ type, payload }) => [type, [...payload]]),
          sent.map(({ name, payload }) => [frameTypes[name], [...payload]]),
        );
        assert.equal(reader.isMalformed, false);
      }),
    );
  });

  test('of anything at all are frames or malformed, and never more than was sent', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.array(fc.nat(400)), (bytes, at) => {
        const reader = new FrameReader();
        const got = cut(Buffer.from(bytes), at).flatMap((piece) => reader.push(piece));
        const size = got.reduce((sum, { payload }) => sum + 5 + payload.length, 0);
        assert.ok(size <= bytes.length);
        for (const { payload } of got) assert.ok(payload.length <= maxPayload);
      }),
    );
  });

  test('end where something comes that is none, and what came before counts', () => {
    const reader = new FrameReader();
    const got = reader.push(Buffer.concat([frame('data', 'ok'), Buffer.from('?1234 rest'), frame('end')]));
    assert.deepEqual(
      got.map(({ payload }) => payload.toString()),
      ['ok'],
    );
    assert.equal(reader.isMalformed, true);
    assert.deepEqual(reader.push(frame('data', 'late')), []);
    const long = new FrameReader();
    long.push(Buffer.from([0x64, 0, 1, 0, 1]));
    assert.equal(long.isMalformed, true);
  });

  test('of much are as long as they may be and no longer', () => {
    const frames = framesOf('output', Buffer.alloc(maxPayload * 2 + 1, 7));
    assert.deepEqual(
      frames.map(({ length }) => length - 5),
      [maxPayload, maxPayload, 1],
    );
    assert.deepEqual(framesOf('output', Buffer.alloc(0)), []);
  });
});
