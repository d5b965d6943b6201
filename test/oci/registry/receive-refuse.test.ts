import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { describe, test } from 'node:test';
import type { EmbeddedRegistry } from '../../../src/oci/registry/embedded-registry.ts';
import { ask, listens, type Question } from './ask.ts';
import { blobOf, flatImageOf, sha256 } from './flat-image-of.ts';
import { Bench, gz, gzDigest, hangUp, ociIndex, ociManifest, tar, until, uploads } from './receive-bench.ts';

describe('a bad push', () => {
  test('bytes with another digest are DIGEST_INVALID, and nothing of them stays', async () => {
    await using bench = await Bench.open();
    const wrong = sha256(Buffer.from('wrong'));
    const checks = [
      () => bench.ask(`${uploads}?digest=${wrong}`, { method: 'POST', body: gz }),
      () => bench.ask(`${uploads}?digest=${wrong}`, { method: 'POST', body: '{"a":1}' }),
      () => bench.ask(`${uploads}?digest=${wrong}`, { method: 'POST', body: '' }),
      async () => bench.ask(`${await bench.begin()}?digest=${wrong}`, { method: 'PUT', body: gz }),
      async () => {
        const location = await bench.begin();
        await bench.ask(location, { method: 'PATCH', body: gz });
        return bench.ask(`${location}?digest=${wrong}`, { method: 'PUT' });
      },
      async () => bench.ask(`${await bench.begin()}?digest=sha256:abc`, { method: 'PUT', body: gz }),
      async () => bench.ask(await bench.begin(), { method: 'PUT', body: gz }),
    ];
    for (const check of checks) {
      const { status, code } = await check();
      assert.deepEqual([status, code], [400, 'DIGEST_INVALID']);
    }
    assert.deepEqual(await bench.store.list(), []);
    assert.deepEqual(await bench.leftInScratch(), []);
  });

  test('a layer that is none is denied at once, and the reason is kept for us', async () => {
    await using bench = await Bench.open();
    for (const body of [randomBytes(100_000), gz.subarray(0, gz.length / 2), tar.subarray(0, 100_000)]) {
      const answer = await bench.ask(`${uploads}?digest=${sha256(body)}`, { method: 'POST', body });
      assert.deepEqual([answer.status, answer.code], [403, 'DENIED']);
    }
    assert.ok(bench.receiver.failure instanceof Error);
    await assert.rejects(bench.receiver.image(), (error) => error === bench.receiver.failure);
    assert.deepEqual(await bench.leftInScratch(), []);
    assert.equal(
      (await bench.ask(`${uploads}?digest=${gzDigest}`, { method: 'POST', body: gz })).status,
      201,
    );
  });

  test('a store that cannot be written denies, and its error is the reason', async () => {
    await using bench = await Bench.open();
    await rm(bench.scratch, { recursive: true });
    const answer = await bench.ask(`${uploads}?digest=${gzDigest}`, { method: 'POST', body: gz });
    assert.equal(answer.status, 403);
    await assert.rejects(bench.receiver.image(), { code: 'ENOENT' });
  });

  test('a document or manifest beyond 4 MiB is SIZE_INVALID', async () => {
    await using bench = await Bench.open();
    const body = Buffer.alloc((4 << 20) + 1, '{');
    const blob = await bench.ask(`${uploads}?digest=${sha256(body)}`, { method: 'POST', body }).catch(String);
    const manifest = await bench.putManifest(body.toString()).catch(String);
    for (const answer of [blob, manifest]) {
      // The connection may close before the client has sent it all.
      if (typeof answer === 'string') assert.match(answer, /EPIPE|ECONNRESET/);
      else assert.deepEqual([answer.status, answer.code], [413, 'SIZE_INVALID']);
    }
    assert.equal((await bench.ask(`/v2/claude-bottle/blobs/${sha256(body)}`)).status, 404);
  });

  test('documents, manifests and what is on its way are together SIZE_INVALID beyond 32 MiB', async () => {
    const large = (name: string) => Buffer.from(JSON.stringify({ name, filler: 'x'.repeat(4_000_000) }));
    const config = Buffer.from('{}');
    const keepers: Record<string, (bench: Bench, name: string) => Promise<{ status: number }>> = {
      document: async (bench, name) => {
        const body = large(name);
        return bench.ask(`${uploads}?digest=${sha256(body)}`, { method: 'POST', body });
      },
      manifest: (bench, name) => {
        const annotations = { name, filler: 'x'.repeat(4_000_000) };
        const descriptor = { mediaType: 'c/c', digest: sha256(config), size: 2 };
        const manifest = { schemaVersion: 2, mediaType: ociManifest, config: descriptor, layers: [] };
        return bench.putManifest({ ...manifest, annotations });
      },
      'open upload': async (bench, name) =>
        bench.ask(await bench.begin(), { method: 'PATCH', body: large(name) }),
    };
    for (const [kind, keep] of Object.entries(keepers)) {
      await using bench = await Bench.open();
      await bench.push(config);
      const statuses: number[] = [];
      for (let number = 0; number < 9; number++) {
        // One that is refused may find its connection closed before it has sent it all.
        const answer = await keep(bench, `${kind} ${number}`).catch(() => ({ status: 413 }));
        statuses.push(answer.status);
      }
      assert.deepEqual(new Set(statuses.slice(0, 7)), new Set([kind === 'open upload' ? 202 : 201]), kind);
      assert.equal(statuses.at(-1), 413, kind);
    }
  });

  test('what was refused, given up or sent twice takes no room from what follows', async () => {
    await using bench = await Bench.open();
    const body = Buffer.from(JSON.stringify({ filler: 'x'.repeat(4_000_000) }));
    const wrong = sha256(Buffer.from('wrong'));
    for (let number = 0; number < 9; number++) {
      const location = await bench.begin();
      await bench.ask(location, { method: 'PATCH', body });
      assert.equal((await bench.ask(location, { method: 'DELETE' })).status, 204);
      assert.equal((await bench.ask(`${uploads}?digest=${wrong}`, { method: 'POST', body })).status, 400);
      assert.equal((await bench.putManifest(body.toString())).status, 400);
      await bench.push(body);
    }
  });

  test('a chunk out of order is 416 with how far it has come, and the upload goes on', async () => {
    await using bench = await Bench.open();
    const location = await bench.begin();
    const patch = (from: number, bytes: Buffer, range = `${from}-${from + bytes.length - 1}`) =>
      bench.ask(location, { method: 'PATCH', body: bytes, headers: { 'content-range': range } });
    assert.equal((await patch(0, gz.subarray(0, 1000))).status, 202);
    for (const answer of [
      await patch(0, gz.subarray(0, 1000)),
      await patch(2000, gz.subarray(2000)),
      await patch(1000, gz.subarray(1000), '1000-1001'),
      await patch(1000, gz.subarray(1000), 'x'),
    ]) {
      assert.equal(answer.status, 416);
      assert.equal(answer.headers.range, '0-999');
    }
    assert.equal((await patch(1000, gz.subarray(1000))).status, 202);
    assert.equal((await bench.ask(`${location}?digest=${gzDigest}`, { method: 'PUT' })).status, 201);
  });

  test('a client that hangs up ends its upload, and others go on', async () => {
    for (const [method, query] of [
      ['PATCH', ''],
      ['PUT', `?digest=${gzDigest}`],
    ] as const) {
      await using bench = await Bench.open();
      const location = await bench.begin();
      await hangUp(bench, method, `${location}${query}`, gz);
      await until(async () => (await bench.leftInScratch()).length === 0);
      await until(async () => (await bench.ask(location)).code === 'BLOB_UPLOAD_UNKNOWN');
      assert.deepEqual(await bench.store.list(), []);
      await bench.push(gz);
      assert.deepEqual([bench.receiver.failure, bench.registry.failure], [undefined, undefined]);
    }
  });

  test('an upload that is deleted, finished or made up is BLOB_UPLOAD_UNKNOWN', async () => {
    await using bench = await Bench.open();
    const deleted = await bench.begin();
    await bench.ask(deleted, { method: 'PATCH', body: gz.subarray(0, 5000) });
    assert.equal((await bench.ask(deleted, { method: 'DELETE' })).status, 204);
    assert.deepEqual(await bench.leftInScratch(), []);
    const finished = await bench.begin();
    await bench.ask(`${finished}?digest=${gzDigest}`, { method: 'PUT', body: gz });
    for (const location of [deleted, finished, `${uploads}made-up`]) {
      for (const method of ['GET', 'PATCH', 'DELETE']) {
        const { status, code } = await bench.ask(location, { method });
        if (method === 'GET') assert.deepEqual([status, code], [404, 'BLOB_UPLOAD_UNKNOWN']);
        assert.equal(status, 404);
      }
    }
  });

  test('a manifest that is none, names missing blobs or has another digest, type or tag is refused', async () => {
    await using bench = await Bench.open();
    const absent = sha256(Buffer.from('absent'));
    const config = { mediaType: 'c/c', digest: await bench.push(Buffer.from('{}')), size: 2 };
    const manifest = { schemaVersion: 2, mediaType: ociManifest, config, layers: [] };
    const missing = { mediaType: 'l/l', digest: absent, size: 1 };
    for (const [answer, status, code] of [
      [await bench.putManifest('{'), 400, 'MANIFEST_INVALID'],
      [await bench.putManifest({ schemaVersion: 1 }), 400, 'MANIFEST_INVALID'],
      [await bench.putManifest(manifest, 't1', ociIndex), 400, 'MANIFEST_INVALID'],
      [await bench.putManifest({ ...manifest, layers: [missing] }), 404, 'MANIFEST_BLOB_UNKNOWN'],
      [await bench.putManifest({ ...manifest, config: missing }), 404, 'MANIFEST_BLOB_UNKNOWN'],
      [await bench.putManifest(manifest, absent), 400, 'DIGEST_INVALID'],
      [await bench.putManifest(manifest, 'latest'), 403, 'DENIED'],
    ] as const) {
      assert.deepEqual([answer.status, answer.code], [status, code]);
    }
    assert.equal((await bench.putManifest(manifest)).status, 201);
  });
});

describe('who may write', () => {
  const attempts = (bench: { registry: EmbeddedRegistry }, as: Question['as']) => {
    const to = (path: string, method: string) =>
      ask(bench.registry.host, path, { method, ...(as === undefined ? {} : { as }) });
    return Promise.all([
      to(uploads, 'POST'),
      to(`${uploads}x`, 'PATCH'),
      to(`${uploads}x?digest=${gzDigest}`, 'PUT'),
      to('/v2/claude-bottle/manifests/t1', 'PUT'),
    ]);
  };
  const answers = async (bench: { registry: EmbeddedRegistry }, as: Question['as']) => [
    ...new Set((await attempts(bench, as)).map(({ status, code }) => `${status} ${code}`)),
  ];

  test('not the reader, nobody without a credential, nobody with a wrong one', async () => {
    await using bench = await Bench.open();
    assert.deepEqual(await answers(bench, bench.registry.reader), ['403 DENIED']);
    assert.deepEqual(await answers(bench, undefined), ['401 UNAUTHORIZED']);
    const { username } = bench.receiver.writer;
    assert.deepEqual(await answers(bench, { username, password: 'x' }), ['401 UNAUTHORIZED']);
  });

  test('nobody before or after, not even an upload that was begun', async () => {
    await using bench = await Bench.open();
    const location = await bench.begin();
    await bench.ask(location, { method: 'PATCH', body: gz.subarray(0, 5000) });
    await until(async () => (await bench.leftInScratch()).length === 1);
    await bench.receiver[Symbol.asyncDispose]();
    assert.deepEqual(await bench.leftInScratch(), []);
    assert.equal((await bench.ask(location, { method: 'PATCH', body: gz })).status, 401);
    assert.deepEqual(await answers(bench, bench.receiver.writer), ['401 UNAUTHORIZED']);
    assert.deepEqual(await answers(bench, bench.registry.reader), ['405 UNSUPPORTED']);
    assert.equal((await bench.ask('/v2/')).status, 401);
  });

  test('the writer does not read what is published, and the reader not what is pushed', async () => {
    await using bench = await Bench.open();
    const image = flatImageOf(blobOf(Buffer.from('layer')));
    bench.registry.publish(image);
    const read = (path: string, as = bench.receiver.writer, method = 'GET') =>
      ask(bench.registry.host, `/v2/claude-bottle/${path}`, { as, method });
    assert.equal((await read('manifests/t1')).status, 404);
    assert.equal((await read(`blobs/${image.layer.digest}`)).status, 404);
    assert.equal((await read('tags/list')).status, 403);
    const pushed = await bench.push(Buffer.from('{"a":1}'));
    assert.equal((await read(`blobs/${pushed}`)).status, 200);
    assert.equal((await read(`blobs/${pushed}`, bench.registry.reader)).status, 404);
    await bench.push(gz);
    assert.equal((await read(`blobs/${gzDigest}`)).status, 405, 'a layer is not read back');
    assert.equal((await read(`blobs/${gzDigest}`, bench.registry.reader)).status, 404);
    assert.equal((await read(`blobs/${gzDigest}`, undefined, 'DELETE')).status, 405);
  });

  test('one push at a time', async () => {
    await using bench = await Bench.open();
    const { store, scratch } = bench;
    assert.throws(() => bench.registry.receive({ store, scratch }), /another push/);
    await bench.receiver[Symbol.asyncDispose]();
    await using again = bench.registry.receive({ store, scratch });
    assert.notEqual(again.writer.password, bench.receiver.writer.password);
    await bench.receiver[Symbol.asyncDispose]();
    assert.equal(
      (await bench.ask('/v2/', { as: again.writer })).status,
      200,
      'the old one is not its business',
    );
  });

  test('disposing of the registry in the middle of a push leaves nothing, on the port or on disk', async () => {
    await using bench = await Bench.open();
    const location = await bench.begin();
    const hanging = hangUp(bench, 'PATCH', location, gz);
    await until(async () => bench.arrived > 0);
    await bench.registry[Symbol.asyncDispose]();
    await hanging;
    assert.deepEqual(await bench.leftInScratch(), []);
    assert.equal(await listens(bench.registry.port), false);
  });
});
