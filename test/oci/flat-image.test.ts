import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import type { Digest } from '../../src/oci/digest.ts';
import { LayerMissing, LayoutDamaged } from '../../src/oci/errors.ts';
import { openFlatImage } from '../../src/oci/flat-image.ts';
import { gzip } from '../../src/oci/gzip.ts';
import type { FedImage, FlatImage } from '../../src/oci/image.ts';
import { verifyLayout, writeLayout } from '../../src/oci/layout.ts';
import { run } from '../../src/process/run.ts';
import { tarOf } from './tar-builder.ts';
import { unpack } from './tar-unpack.ts';
import { chunked, collect, temporaryDirectory, temporaryStore } from './temporary.ts';

const config: FedImage['config'] = {
  architecture: 'arm64',
  os: 'linux',
  variant: 'v8',
  created: '2026-01-02T03:04:05Z',
  config: {
    User: '1000:1000',
    Labels: { b: '2', a: '1' },
    Env: ['Z=1', 'A=2'],
    Cmd: ['run', 'it'],
    ExposedPorts: { '80/tcp': {}, '22/tcp': {} },
  },
};

async function withImage<T>(
  options: { compression: 'none' | 'gzip'; image?: Partial<FedImage> },
  use: (image: FlatImage, scratch: string) => T | Promise<T>,
): Promise<T> {
  await using temporary = await temporaryStore();
  const { store, scratch } = temporary;
  const bottom = [{ path: 'a', data: Buffer.alloc(1_500_000, 'x') }, { path: 'gone' }];
  const top = [{ path: '.wh.gone' }, { path: 'b' }, { path: '.dockerenv' }];
  const layers: Digest[] = [];
  for (const entries of [bottom, top, top]) {
    layers.push((await store.ingest(chunked(tarOf(entries)), { scratch })).diffId);
  }
  {
    await using image = await openFlatImage({ config, layers, ...options.image }, store, {
      compression: options.compression,
      scratch,
    });
    const result = await use(image, scratch);
    await image[Symbol.asyncDispose]();
    assert.deepEqual(await readdir(scratch), ['layers']);
    return result;
  }
}

describe('a flat image', () => {
  test('has one layer, and a config that keeps what outlives flattening, in order and without times', async () => {
    await withImage({ compression: 'none' }, async (image) => {
      const { digest, size } = image.layer;
      assert.equal(
        image.config.toString(),
        '{"architecture":"arm64","os":"linux","variant":"v8","config":{"Cmd":["run","it"],"Env":["Z=1","A=2"],' +
          '"ExposedPorts":{"22/tcp":{},"80/tcp":{}},"Labels":{"a":"1","b":"2"},"User":"1000:1000"},' +
          `"rootfs":{"type":"layers","diff_ids":["${digest}"]},"history":[{"created_by":"claude-bottle flatten"}]}`,
      );
      assert.equal(
        image.manifest.toString(),
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",' +
          '"config":{"mediaType":"application/vnd.oci.image.config.v1+json",' +
          `"digest":"${image.configDigest}","size":${image.config.length}},` +
          '"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar",' +
          `"digest":"${digest}","size":${size}}]}`,
      );
      assert.equal(image.layerMediaType, 'application/vnd.oci.image.layer.v1.tar');
      for (const [bytes, name] of [
        [image.manifest, image.manifestDigest],
        [image.config, image.configDigest],
        [await collect(image.layer.read(0, size)), digest],
      ] as const) {
        assert.equal(`sha256:${createHash('sha256').update(bytes).digest('hex')}`, name);
      }
      const files = unpack(await collect(image.layer.read(0, size)));
      assert.deepEqual([...files.keys()], ['a', 'b', '.dockerenv']);
    });
  });

  test('is the same from the same layers, whatever the time and however its config was spelled', async () => {
    const one = await withImage({ compression: 'none' }, ({ manifestDigest }) => manifestDigest);
    const { Labels, Env, Cmd, ExposedPorts, User } = config.config;
    const other = await withImage(
      {
        compression: 'none',
        image: {
          config: {
            os: 'linux',
            variant: 'v8',
            created: '1999-01-01T00:00:00Z',
            architecture: 'arm64',
            config: { Cmd: Cmd!, User: User!, ExposedPorts: ExposedPorts!, Env: Env!, Labels: Labels! },
          },
        },
      },
      ({ manifestDigest }) => manifestDigest,
    );
    assert.equal(one, other);
  });

  test('drops what the feeder says is not the image', async () => {
    await withImage({ compression: 'none', image: { dropPaths: ['.dockerenv'] } }, async ({ layer }) => {
      assert.deepEqual([...unpack(await collect(layer.read(0, layer.size))).keys()], ['a', 'b']);
    });
  });

  test('is the same inside when compressed, and its file goes with it', async () => {
    const plain = await withImage({ compression: 'none' }, ({ layer }) => layer.digest);
    await withImage({ compression: 'gzip' }, async (image, scratch) => {
      const bytes = await collect(image.layer.read(0, image.layer.size));
      assert.equal(`sha256:${createHash('sha256').update(bytes).digest('hex')}`, image.layer.digest);
      assert.equal(`sha256:${createHash('sha256').update(gunzipSync(bytes)).digest('hex')}`, plain);
      assert.equal(image.layerMediaType, 'application/vnd.oci.image.layer.v1.tar+gzip');
      assert.match(image.config.toString(), new RegExp(plain));
      assert.equal((await readdir(scratch)).length, 2);
    });
  });

  test('closes what it opened when a layer is missing', async () => {
    await assert.rejects(
      withImage({ compression: 'none', image: { layers: [`sha256:${'0'.repeat(64)}`] } }, () => undefined),
      LayerMissing,
    );
  });
});

describe('gzip', () => {
  test('gives one member that unpacks to the input, the same every time', async () => {
    await using directory = await temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 5_000_000 }),
        fc.integer({ min: 1, max: 251 }),
        async (size, step) => {
          const plain = Buffer.from(Array.from({ length: size }, (_, at) => (at % step) ^ (at >> 12)));
          const blob = {
            digest: `sha256:${'0'.repeat(64)}` as const,
            size,
            read: (start: number, end: number) => chunked(plain.subarray(start, end), 60_000),
          };
          await using one = await gzip(blob, { scratch: directory.path });
          await using other = await gzip(blob, { scratch: directory.path });
          assert.equal(one.digest, other.digest);
          const bytes = await collect(one.read(0, one.size));
          assert.ok(gunzipSync(bytes).equals(plain));
          const path = join(directory.path, 'single.gz');
          await writeFile(path, bytes);
          assert.equal((await run('gzip', ['-t', path])).code, 0);
        },
      ),
      { numRuns: 12 },
    );
    assert.deepEqual(await readdir(directory.path), ['single.gz']);
  });

  test('leaves nothing when the input fails', async () => {
    await using directory = await temporaryDirectory();
    async function* failing(): AsyncGenerator<Buffer> {
      yield Buffer.alloc(3_000_000);
      throw new Error('layer gone');
    }
    const blob = { digest: `sha256:${'0'.repeat(64)}` as const, size: 9_000_000, read: failing };
    await assert.rejects(gzip(blob, { scratch: directory.path }), /layer gone/);
    assert.deepEqual(await readdir(directory.path), []);
  });
});

describe('an OCI layout', () => {
  for (const compression of ['none', 'gzip'] as const) {
    test(`is understood by other tools (compression: ${compression})`, async () => {
      await withImage({ compression }, async (image) => {
        await using directory = await temporaryDirectory();
        const layout = join(directory.path, 'layout');
        await writeLayout(image, layout, { refName: 'claude-bottle-latest' });
        const copied = join(directory.path, 'copied');
        const copy = await run('skopeo', ['copy', `oci:${layout}:claude-bottle-latest`, `dir:${copied}`]);
        assert.equal(copy.code, 0, copy.stderr);
        assert.ok((await readFile(join(copied, 'manifest.json'))).equals(image.manifest));
        const bundle = join(directory.path, 'bundle');
        const unpacked = await run('umoci', ['unpack', '--image', `${layout}:claude-bottle-latest`, bundle]);
        assert.equal(unpacked.code, 0, unpacked.stderr);
        assert.deepEqual((await readdir(join(bundle, 'rootfs'))).toSorted(), ['.dockerenv', 'a', 'b']);
      });
    });
  }

  test('says what it holds when verified, and shows every flipped byte, cut and missing file', async () => {
    await withImage({ compression: 'none' }, async (image) => {
      await using directory = await temporaryDirectory();
      const layout = join(directory.path, 'layout');
      let written = 0;
      await writeLayout(image, layout, { refName: 'x', onBytes: (bytes) => (written += bytes) });
      assert.equal(written, image.layer.size);
      assert.deepEqual(await verifyLayout(layout), {
        manifestDigest: image.manifestDigest,
        configDigest: image.configDigest,
        layerDigest: image.layer.digest,
        diffId: image.layer.digest,
        size: image.manifest.length + image.config.length + image.layer.size,
      });
      const files = (await readdir(layout, { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name));
      assert.equal(files.length, 5);
      for (const path of files) {
        const whole = await readFile(path);
        if (!path.endsWith('index.json') && !path.endsWith('oci-layout')) {
          const flipped = Buffer.from(whole);
          flipped[whole.length >> 1]! ^= 1;
          await writeFile(path, flipped);
          await assert.rejects(verifyLayout(layout), LayoutDamaged, path);
        }
        await truncate(path, whole.length - 1);
        await assert.rejects(verifyLayout(layout), LayoutDamaged, path);
        await rm(path);
        await assert.rejects(verifyLayout(layout), LayoutDamaged, path);
        await writeFile(path, whole);
      }
      await verifyLayout(layout);
    });
  });

  test('never mixes with what is there', async () => {
    await withImage({ compression: 'none' }, async (image) => {
      await using directory = await temporaryDirectory();
      const taken = await mkdtemp(join(directory.path, 'taken-'));
      await assert.rejects(writeLayout(image, taken, { refName: 'x' }), { code: 'EEXIST' });
    });
  });
});
