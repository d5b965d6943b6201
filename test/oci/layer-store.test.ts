import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import type { Digest } from '../../src/oci/digest.ts';
import {
  DigestMismatch,
  LayerDamaged,
  LayerInflates,
  LayerMissing,
  LayerUndecodable,
  SizeMismatch,
  TarMalformed,
} from '../../src/oci/errors.ts';
import type { IngestOptions, LayerStore } from '../../src/oci/layer-store.ts';
import { entryBytes, tarOf } from './tar-builder.ts';
import { chunked, temporaryStore } from './temporary.ts';

const tar = tarOf([
  { path: 'a', data: randomBytes(300_000) },
  { path: 'b', data: Buffer.alloc(400_000, 7) },
]);

function digestOf(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A frame that decoders skip (RFC 8878 §3.1.2). */
function skippableFrame(content: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a53, 0);
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, Buffer.from(content)]);
}

async function contentOf(store: LayerStore, diffId: Digest): Promise<Buffer> {
  await using layer = await store.open(diffId);
  const bytes = Buffer.alloc(layer.size);
  await layer.readInto(bytes, 0);
  return bytes;
}

/** Every file below, but the empty directories that ingesting makes. */
async function filesBelow(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

const half = tar.length / 2;
const forms: Record<string, Buffer> = {
  plain: tar,
  gzip: gzipSync(tar),
  'gzip of several members': Buffer.concat([gzipSync(tar.subarray(0, half)), gzipSync(tar.subarray(half))]),
  zstd: zstdCompressSync(tar),
  'zstd of several frames, some to be skipped': Buffer.concat([
    skippableFrame('first'),
    zstdCompressSync(tar.subarray(0, 100)),
    skippableFrame(''),
    zstdCompressSync(tar.subarray(100)),
    skippableFrame('table of contents'),
  ]),
};

describe('the layer store', () => {
  for (const [form, bytes] of Object.entries(forms)) {
    test(`takes a layer as ${form}, cut anywhere, and remembers how it came`, async () => {
      await using use = await temporaryStore();
      const { store, scratch } = use;
      for (const size of [1_000_000, 65_536, 997]) {
        const expect = { diffId: digestOf(tar), digest: digestOf(bytes), size: bytes.length };
        const layer = await store.ingest(chunked(bytes, size), { scratch, expect });
        const received = { digest: digestOf(bytes), size: bytes.length };
        assert.deepEqual(layer, { diffId: digestOf(tar), size: tar.length, received });
        assert.ok((await contentOf(store, layer.diffId)).equals(tar));
      }
      assert.deepEqual(await store.receivedAs(digestOf(bytes)), {
        diffId: digestOf(tar),
        size: bytes.length,
      });
      assert.equal(await store.verify(digestOf(tar)), 'ok');
      assert.deepEqual(await readdir(scratch), ['layers']);
    });
  }

  test('takes a stream that trickles in byte by byte', async () => {
    await using use = await temporaryStore();
    const small = tarOf([{ path: 'a' }]);
    for (const bytes of [small, gzipSync(small), zstdCompressSync(small)]) {
      const layer = await use.store.ingest(chunked(bytes, 1), { scratch: use.scratch });
      assert.equal(layer.diffId, digestOf(small));
    }
  });

  test('keeps files to their owner', async () => {
    await using use = await temporaryStore();
    await use.store.ingest(chunked(forms.gzip!), { scratch: use.scratch });
    assert.equal((await stat(use.root)).mode & 0o777, 0o700);
    for (const entry of await readdir(use.root, { recursive: true, withFileTypes: true })) {
      const { mode } = await stat(join(entry.parentPath, entry.name));
      assert.equal(mode & 0o077, 0, entry.name);
    }
  });

  describe('leaves nothing behind', () => {
    const bomb = Buffer.concat(Array<Buffer>(11).fill(gzipSync(Buffer.alloc(100 * 1024 * 1024, 'x'))));
    const cases: [string, Buffer, IngestOptions['expect'], new (...args: never[]) => Error][] = [
      ['another blob than announced', tar, { digest: digestOf(Buffer.from('x')) }, DigestMismatch],
      ['another compressed blob than announced', forms.gzip!, { digest: digestOf(tar) }, DigestMismatch],
      [
        'another layer in the blob than announced',
        forms.gzip!,
        { diffId: digestOf(forms.gzip!) },
        DigestMismatch,
      ],
      [
        'changed bytes that are no tar any more',
        randomBytes(2000),
        { digest: digestOf(tar) },
        DigestMismatch,
      ],
      ['fewer bytes than announced', tar, { size: tar.length + 1 }, SizeMismatch],
      ['more bytes than announced', tar, { size: tar.length - 1 }, SizeMismatch],
      ['an archive without an end', tar.subarray(0, -1024), {}, TarMalformed],
      [
        'an archive cut inside a file',
        tar.subarray(0, 5000),
        { digest: digestOf(tar.subarray(0, 5000)) },
        TarMalformed,
      ],
      ['nothing at all', Buffer.alloc(0), {}, TarMalformed],
      ['something else', Buffer.from('{"not":"a tar"}'.repeat(100)), {}, TarMalformed],
      ['gzip cut short', forms.gzip!.subarray(0, -9), {}, LayerUndecodable],
      [
        'broken gzip',
        Buffer.concat([forms.gzip!.subarray(0, 3000), randomBytes(3000)]),
        {},
        LayerUndecodable,
      ],
      ['zstd cut short', forms.zstd!.subarray(0, -9), {}, LayerUndecodable],
      [
        'zstd cut in a frame to skip',
        Buffer.concat([forms.zstd!, skippableFrame('abc').subarray(0, 9)]),
        {},
        LayerUndecodable,
      ],
      ['garbage behind zstd', Buffer.concat([forms.zstd!, Buffer.from('garbage')]), {}, LayerUndecodable],
      ['a gzip bomb', bomb, {}, LayerInflates],
    ];
    for (const [name, bytes, expect, failure] of cases) {
      test(`of ${name}`, async () => {
        await using use = await temporaryStore();
        const options = { scratch: use.scratch, ...(expect === undefined ? {} : { expect }) };
        await assert.rejects(use.store.ingest(chunked(bytes), options), failure);
        assert.deepEqual(await filesBelow(use.path), []);
        assert.deepEqual(await use.store.list(), []);
      });
    }

    test('of a source that fails', async () => {
      await using use = await temporaryStore();
      for (const bytes of [tar, forms.gzip!, forms.zstd!]) {
        async function* source() {
          yield* chunked(bytes.subarray(0, -5));
          throw new Error('engine gone');
        }
        await assert.rejects(use.store.ingest(source(), { scratch: use.scratch }), /engine gone/);
        assert.deepEqual(await filesBelow(use.path), []);
      }
    });

    test('of an aborted layer, even while the source is silent', async () => {
      await using use = await temporaryStore();
      for (const bytes of [tar, forms.gzip!, forms.zstd!]) {
        const controller = new AbortController();
        const source = new PassThrough();
        const { signal } = controller;
        const ingested = use.store.ingest(source, { scratch: use.scratch, signal });
        source.write(bytes.subarray(0, 9000));
        await setImmediate();
        controller.abort(new Error('interrupted'));
        await assert.rejects(ingested, /interrupted/);
        assert.deepEqual(await filesBelow(use.path), []);
        await assert.rejects(
          use.store.ingest(chunked(bytes), { scratch: use.scratch, signal }),
          /interrupted/,
        );
      }
    });

    test(
      'of a layer aborted while a chunk is taken in, whose source is silent then',
      { timeout: 10_000 },
      async () => {
        await using use = await temporaryStore();
        const controller = new AbortController();
        const chunk = tar.subarray(0, 9000);
        // It is looked at after it has come and before the next is asked for.
        Object.defineProperty(chunk, 'byteLength', {
          get: () => {
            controller.abort(new Error('interrupted'));
            return 9000;
          },
        });
        async function* source() {
          yield chunk;
          await new Promise(() => undefined);
        }
        const ingested = use.store.ingest(source(), { scratch: use.scratch, signal: controller.signal });
        await assert.rejects(ingested, /interrupted/);
        assert.deepEqual(await filesBelow(use.path), []);
      },
    );
  });

  test('takes one layer many times at once', async () => {
    await using use = await temporaryStore();
    const all = Object.values(forms).concat(Object.values(forms));
    const layers = await Promise.all(
      all.map((bytes) => use.store.ingest(chunked(bytes), { scratch: use.scratch })),
    );
    assert.deepEqual(new Set(layers.map(({ diffId }) => diffId)), new Set([digestOf(tar)]));
    assert.equal((await use.store.list()).length, 1);
    assert.equal(await use.store.verify(digestOf(tar)), 'ok');
  });

  test('believes a digest that vouches for an archive without an end marker', async () => {
    await using use = await temporaryStore();
    const bytes = entryBytes({ path: 'a' });
    const layer = await use.store.ingest(chunked(bytes), {
      scratch: use.scratch,
      expect: { diffId: digestOf(bytes) },
    });
    assert.equal(layer.size, bytes.length);
  });

  test('forgets a layer with all that belongs to it, but not what is open', async () => {
    await using use = await temporaryStore();
    const { store, scratch } = use;
    const other = tarOf([{ path: 'other' }]);
    await store.ingest(chunked(gzipSync(other)), { scratch });
    const { diffId } = await store.ingest(chunked(forms.gzip!), { scratch });
    await using open = await store.open(diffId);
    await store.remove(diffId);
    assert.equal(await store.has(diffId), false);
    assert.equal(await store.receivedAs(digestOf(forms.gzip!)), undefined);
    assert.notEqual(await store.receivedAs(digestOf(gzipSync(other))), undefined);
    assert.deepEqual(
      (await store.list()).map((layer) => layer.diffId),
      [digestOf(other)],
    );
    await assert.rejects(store.open(diffId), LayerMissing);
    await assert.rejects(store.verify(diffId), LayerMissing);
    await store.remove(diffId);
    await open.verify();
    assert.equal((await open.index()).count, 2);
  });

  test('lists what is there with its size on disk, and nothing where there is nothing', async () => {
    await using use = await temporaryStore();
    assert.deepEqual(await use.store.list(), []);
    const { diffId } = await use.store.ingest(chunked(tar), { scratch: use.scratch });
    const hex = diffId.slice(7);
    const [first] = await use.store.list();
    const index = await stat(join(use.root, `${hex}.index`));
    assert.equal(first?.diffId, diffId);
    assert.equal(first.bytes, tar.length + index.size);
  });

  test('sees damage: by its size at once, by its content when verified', async () => {
    await using use = await temporaryStore();
    const { store, scratch } = use;
    const { diffId } = await store.ingest(chunked(tar), { scratch });
    const path = join(use.root, `${diffId.slice(7)}.tar`);
    await fc.assert(
      fc.asyncProperty(fc.nat(tar.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bytes = Buffer.from(tar);
        bytes[at] = bytes[at]! ^ flip;
        await writeFile(path, bytes);
        assert.equal(await store.verify(diffId), 'damaged');
      }),
      { numRuns: 20 },
    );
    await truncate(path, 1000);
    assert.equal(await store.verify(diffId), 'damaged');
    await assert.rejects(store.open(diffId), LayerDamaged);
    await assert.rejects(store.open(diffId), LayerMissing);
    await store.ingest(chunked(tar), { scratch });
    assert.equal(await store.verify(diffId), 'ok');
  });

  test('makes a missing or damaged index anew, and the layer must be whole for that', async () => {
    await using use = await temporaryStore();
    const { store, scratch } = use;
    const { diffId } = await store.ingest(chunked(tar), { scratch });
    const hex = diffId.slice(7);
    const indexPath = join(use.root, `${hex}.index`);
    const written = await readFile(indexPath);
    for (const damage of [Buffer.alloc(0), written.subarray(0, -1), randomBytes(written.length)]) {
      await writeFile(indexPath, damage);
      await using layer = await store.open(diffId);
      assert.equal((await layer.index()).path(1), 'b');
      assert.ok((await readFile(indexPath)).equals(written));
    }
    await using layer = await store.open(diffId);
    await writeFile(indexPath, '');
    await writeFile(
      join(use.root, `${hex}.tar`),
      Buffer.concat([tar.subarray(0, 600), Buffer.alloc(tar.length - 600)]),
    );
    await assert.rejects(layer.index(), LayerDamaged);
  });

  test('takes half a record of a received blob for none', async () => {
    await using use = await temporaryStore();
    const { store, scratch } = use;
    const digest = digestOf(forms.gzip!);
    await store.ingest(chunked(forms.gzip!), { scratch });
    const record = join(use.root, 'received', digest.slice(7));
    const text = await readFile(record, 'utf8');
    for (const damaged of ['', text.slice(0, 20), '\0'.repeat(text.length), '{"diffId":"x","size":1}']) {
      await writeFile(record, damaged);
      assert.equal(await store.receivedAs(digest), undefined);
    }
  });
});
