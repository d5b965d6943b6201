import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import type { Digest } from '../../../src/oci/digest.ts';
import { EmbeddedRegistry } from '../../../src/oci/registry/embedded-registry.ts';
import {
  PushedLayersDiffer,
  PushedPlatformUnclear,
  PushIncomplete,
} from '../../../src/oci/registry/errors.ts';
import { type Answer, ask } from './ask.ts';
import { sha256 } from './flat-image-of.ts';
import {
  Bench,
  diffId,
  gz,
  gzDigest,
  ociIndex,
  ociManifest,
  pieces,
  tar,
  tarOf,
  uploads,
} from './receive-bench.ts';

describe('a layer arrives', () => {
  const ways: Record<string, (bench: Bench, bytes: Buffer, digest: Digest) => Promise<Answer>> = {
    'in one POST': (bench, bytes, digest) =>
      bench.ask(`${uploads}?digest=${digest}`, { method: 'POST', body: bytes }),
    'in POST and PUT, as containerd does': async (bench, bytes, digest) =>
      bench.ask(`${await bench.begin()}?digest=${digest}`, { method: 'PUT', body: bytes }),
    'in one chunked PATCH and an empty PUT, as Docker does': async (bench, bytes, digest) => {
      const location = await bench.begin();
      const patched = await bench.ask(location, { method: 'PATCH', body: pieces(bytes, 9) });
      assert.equal(patched.status, 202);
      assert.equal(patched.headers.range, `0-${bytes.length - 1}`);
      assert.ok(patched.headers['docker-upload-uuid']);
      return bench.ask(`${patched.headers.location}?digest=${digest}`, { method: 'PUT' });
    },
    'in chunks with Content-Range, the last one in the PUT': async (bench, bytes, digest) => {
      const location = await bench.begin();
      let at = 0;
      const chunks = pieces(bytes, 5);
      for (const [n, chunk] of chunks.entries()) {
        const headers = { 'content-range': `${at}-${at + chunk.length - 1}` };
        at += chunk.length;
        if (n === chunks.length - 1) {
          return bench.ask(`${location}?digest=${digest}`, { method: 'PUT', body: chunk, headers });
        }
        assert.equal((await bench.ask(location, { method: 'PATCH', body: chunk, headers })).status, 202);
        const status = await bench.ask(location);
        assert.deepEqual([status.status, status.headers.range], [204, `0-${at - 1}`]);
      }
      throw new Error('unreachable');
    },
    'after a wish to mount it, which is not granted': async (bench, bytes, digest) => {
      const mount = await bench.ask(`${uploads}?mount=${digest}&from=other`, { method: 'POST' });
      assert.equal(mount.status, 202);
      return bench.ask(`${mount.headers.location}?digest=${digest}`, { method: 'PUT', body: bytes });
    },
  };
  const forms: Record<string, Buffer> = { plain: tar, gzip: gz, zstd: zstdCompressSync(tar) };
  for (const [way, push] of Object.entries(ways)) {
    for (const [form, bytes] of Object.entries(forms)) {
      test(`${form}, ${way}`, async () => {
        await using bench = await Bench.open();
        const digest = sha256(bytes);
        const head = () => bench.ask(`/v2/claude-bottle/blobs/${digest}`, { method: 'HEAD' });
        assert.equal((await head()).status, 404);
        const answer = await push(bench, bytes, digest);
        assert.equal(answer.status, 201);
        assert.equal(answer.headers.location, `/v2/claude-bottle/blobs/${digest}`);
        assert.equal(answer.headers['docker-content-digest'], digest);
        assert.equal(bench.arrived, bytes.length);
        assert.equal(await bench.store.verify(diffId), 'ok');
        assert.deepEqual(await bench.leftInScratch(), []);
        const known = await head();
        assert.deepEqual([known.status, known.headers['content-length']], [200, String(bytes.length)]);
      });
    }
  }
});

describe('an image arrives', () => {
  test('its layers are mapped to the plain ones, repeats kept, and its configuration is read', async () => {
    await using bench = await Bench.open();
    const layer = { digest: await bench.push(gz), diffId };
    const { answer, digest } = await bench.putImage({ layers: [layer, layer] });
    assert.equal(answer.status, 201);
    assert.equal(answer.headers['docker-content-digest'], digest);
    const image = await bench.receiver.image();
    assert.deepEqual(image.layers, [diffId, diffId]);
    assert.deepEqual(image.config.config, { Cmd: ['sh'] });
    const back = await bench.ask('/v2/claude-bottle/manifests/t1');
    assert.equal(sha256(back.body), digest);
    assert.equal(back.headers['content-type'], ociManifest);
    assert.equal((await bench.ask(`/v2/claude-bottle/manifests/${digest}`, { method: 'HEAD' })).status, 200);
  });

  test('what an earlier push brought, another registry with the same store need not be sent', async () => {
    await using bench = await Bench.open();
    await bench.push(gz);
    await bench.receiver[Symbol.asyncDispose]();
    await using second = await EmbeddedRegistry.start({ repository: 'claude-bottle', tag: 't2' });
    await using receiver = second.receive({ store: bench.store, scratch: bench.scratch });
    for (const [digest, size] of [
      [gzDigest, gz.length],
      [diffId, tar.length],
    ] as const) {
      const path = `/v2/claude-bottle/blobs/${digest}`;
      const { status, headers } = await ask(second.host, path, { as: receiver.writer, method: 'HEAD' });
      assert.deepEqual([status, headers['content-length']], [200, String(size)]);
    }
  });

  test('out of an index the runnable one is picked, attestations are passed over', async () => {
    await using bench = await Bench.open();
    const layer = { digest: await bench.push(gz), diffId };
    const attestationLayer = Buffer.from('{"_type":"https://in-toto.io/Statement/v0.1"}');
    const statement = { digest: await bench.push(attestationLayer), diffId: sha256(attestationLayer) };
    const put = async (layers: (typeof layer)[], architecture: string) => {
      // The digest is known only once the manifest is made, so it is pushed by tag first.
      const { digest, size } = await bench.putImage({ layers, architecture });
      return { mediaType: ociManifest, digest, size };
    };
    const amd64 = await put([layer], 'amd64');
    const arm64 = await put([layer, layer], 'arm64');
    const attestation = await put([statement], 'unknown');
    const unknown = { platform: { os: 'unknown', architecture: 'unknown' } };
    const marked = { annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } };
    const inner = JSON.stringify({
      schemaVersion: 2,
      mediaType: ociIndex,
      manifests: [amd64, { ...attestation, ...unknown }, { ...attestation, ...marked }],
    });
    const innerDigest = sha256(Buffer.from(inner));
    assert.equal((await bench.putManifest(inner, innerDigest, ociIndex)).status, 201);
    const nested = { mediaType: ociIndex, digest: innerDigest, size: inner.length };
    const outer = { schemaVersion: 2, mediaType: ociIndex, manifests: [nested, arm64] };

    await bench.putManifest({ ...outer, manifests: [nested] }, 't1', ociIndex);
    assert.deepEqual((await bench.receiver.image()).layers, [diffId]);

    await bench.putManifest(outer, 't1', ociIndex);
    await assert.rejects(bench.receiver.image(), PushedPlatformUnclear);
    const arm = await bench.receiver.image({ os: 'linux', architecture: 'arm64' });
    assert.deepEqual([arm.config.architecture, arm.layers.length], ['arm64', 2]);
    await assert.rejects(bench.receiver.image({ os: 'linux', architecture: 's390x' }), (error) => {
      assert.ok(error instanceof PushedPlatformUnclear);
      assert.deepEqual(error.fields.wanted, 'linux/s390x');
      assert.deepEqual([...error.fields.offered].sort(), ['linux/amd64', 'linux/arm64']);
      return true;
    });
  });

  test('an index whose image was not pushed is incomplete', async () => {
    await using bench = await Bench.open();
    const gone = sha256(Buffer.from('gone'));
    const child = { mediaType: ociManifest, digest: gone, size: 4 };
    const index = { schemaVersion: 2, mediaType: ociIndex, manifests: [child] };
    assert.equal((await bench.putManifest(index, 't1', ociIndex)).status, 201);
    await assert.rejects(bench.receiver.image(), PushIncomplete);
  });

  test('layers other than the configuration names are refused', async () => {
    await using bench = await Bench.open();
    const other = await tarOf(100);
    const layer = { digest: await bench.push(gz), diffId: sha256(other) };
    await bench.putImage({ layers: [layer] });
    await assert.rejects(bench.receiver.image(), (error) => {
      assert.ok(error instanceof PushedLayersDiffer);
      assert.deepEqual(error.fields, {
        reference: bench.registry.reference,
        expected: [sha256(other)],
        pushed: [diffId],
      });
      return true;
    });
  });

  test('nothing, blobs without a manifest and a layer that left the store are incomplete', async () => {
    await using bench = await Bench.open();
    await assert.rejects(bench.receiver.image(), PushIncomplete);
    const layer = { digest: await bench.push(gz), diffId };
    await assert.rejects(bench.receiver.image(), PushIncomplete);
    await bench.putImage({ layers: [layer] });
    await bench.receiver.image();
    await bench.store.remove(diffId);
    await assert.rejects(bench.receiver.image(), PushIncomplete);
  });
});
