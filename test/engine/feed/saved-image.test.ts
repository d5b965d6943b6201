import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { ArchiveDamaged } from '../../../src/engine/errors.ts';
import { readSavedImage } from '../../../src/engine/feed/saved-image.ts';
import type { InspectedImage } from '../../../src/engine/image.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { type BuildEntry, tarOf } from '../../oci/tar-builder.ts';
import { chunked, temporaryStore } from '../../oci/temporary.ts';

const digestOf = (bytes: Uint8Array): Digest => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const hex = (bytes: Uint8Array) => digestOf(bytes).slice(7);

const bottom = tarOf([
  { path: 'etc/', type: '5' },
  { path: 'etc/big', data: Buffer.alloc(100_000, 'b') },
]);
const top = tarOf([{ path: 'etc/small', data: Buffer.from('s') }]);
/** The same layer twice: engines write it once and link to it. */
const layers = [bottom, top, bottom];
const config = Buffer.from(
  JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd: ['/bin/sh'] },
    rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
  }),
);
const image: InspectedImage = {
  id: digestOf(config),
  reference: 'test:1',
  architecture: 'amd64',
  os: 'linux',
  layers: layers.map(digestOf),
  config: { architecture: 'amd64', os: 'linux', config: { Cmd: ['/bin/sh'] } },
  tags: ['test:1'],
  size: 1,
};

const file = (path: string, data: Buffer | string): BuildEntry => ({ path, data: Buffer.from(data) });
const json = (path: string, value: unknown) => file(path, JSON.stringify(value));
const blob = (bytes: Buffer) => file(`blobs/sha256/${hex(bytes)}`, bytes);
const blobPath = (bytes: Buffer) => `blobs/sha256/${hex(bytes)}`;

/** Docker up to 24: a directory for each layer, the listing near the end, a layer that repeats as a symbolic link. */
const legacy = [
  { path: 'aaa/', type: '5' },
  file('aaa/VERSION', '1.0'),
  json('aaa/json', { id: 'aaa' }),
  file('aaa/layer.tar', bottom),
  file('bbb/VERSION', '1.0'),
  file('bbb/layer.tar', top),
  { path: 'ccc/layer.tar', type: '2', link: '../aaa/layer.tar' },
  file(`${hex(config)}.json`, config),
  json('manifest.json', [
    {
      Config: `${hex(config)}.json`,
      RepoTags: null,
      Layers: ['aaa/layer.tar', 'bbb/layer.tar', 'ccc/layer.tar'],
    },
  ]),
  json('repositories', { test: { 1: 'aaa' } }),
];

/** Docker from 25 on: blobs by digest, with legacy documents among them. */
const modern = [
  blob(bottom),
  blob(config),
  blob(top),
  blob(Buffer.from('{"id":"legacy"}')),
  json('index.json', { schemaVersion: 2, manifests: [] }),
  json('manifest.json', [
    { Config: blobPath(config), RepoTags: ['test:1'], Layers: layers.map(blobPath), LayerSources: {} },
  ]),
  json('oci-layout', { imageLayoutVersion: '1.0.0' }),
];

/** The containerd store: compressed as pushed, an index in the index, and an attestation beside the image. */
function containerd(compress: (bytes: Buffer) => Buffer, listing = true): BuildEntry[] {
  const packed = layers.map((layer) => compress(layer));
  const type = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: type,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: digestOf(config),
        size: config.length,
      },
      layers: packed.map((bytes) => ({
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
        digest: digestOf(bytes),
        size: bytes.length,
      })),
    }),
  );
  const attestationConfig = Buffer.from(
    '{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}',
  );
  const attestation = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: type,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: digestOf(attestationConfig),
        size: attestationConfig.length,
      },
      layers: [],
    }),
  );
  const descriptor = (bytes: Buffer, platform: object, annotations?: object) => ({
    mediaType: type,
    digest: digestOf(bytes),
    size: bytes.length,
    platform,
    ...(annotations === undefined ? {} : { annotations }),
  });
  const indexType = 'application/vnd.oci.image.index.v1+json';
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: indexType,
      manifests: [
        descriptor(manifest, { architecture: 'amd64', os: 'linux' }),
        descriptor(
          attestation,
          { architecture: 'unknown', os: 'unknown' },
          { 'vnd.docker.reference.type': 'attestation-manifest' },
        ),
      ],
    }),
  );
  return [
    ...[...new Set(packed)].slice(0, 2).map(blob),
    ...[config, manifest, attestationConfig, attestation, index].map(blob),
    json('index.json', {
      schemaVersion: 2,
      manifests: [{ mediaType: indexType, digest: digestOf(index), size: index.length }],
    }),
    ...(listing
      ? [
          json('manifest.json', [
            { Config: blobPath(config), RepoTags: ['test:1'], Layers: packed.map(blobPath) },
          ]),
        ]
      : []),
  ];
}

/** Podman: layers under their diff ids, and Docker's old names as links to them. */
const podman = [
  file(`${hex(bottom)}.tar`, bottom),
  file(`${hex(top)}.tar`, top),
  file(`${hex(config)}.json`, config),
  { path: 'aaa/layer.tar', type: '2', link: `../${hex(bottom)}.tar` },
  { path: 'bbb/layer.tar', type: '2', link: `../${hex(top)}.tar` },
  json('manifest.json', [
    {
      Config: `${hex(config)}.json`,
      RepoTags: [],
      Layers: [`${hex(bottom)}.tar`, 'bbb/layer.tar', `${hex(bottom)}.tar`],
    },
  ]),
];

const archives: Record<string, readonly BuildEntry[]> = {
  'Docker up to 24': legacy,
  'Docker from 25 on': modern,
  'the containerd store with gzip': containerd((layer) => gzipSync(layer)),
  'the containerd store with zstd': containerd((layer) => zstdCompressSync(layer)),
  'the containerd store with plain layers': containerd((layer) => layer),
  'an OCI layout without a listing of Docker': containerd((layer) => gzipSync(layer), false),
  podman,
};

async function read(archive: Buffer, chunk?: number, expected: InspectedImage = image) {
  await using temporary = await temporaryStore();
  const { store, scratch } = temporary;
  const fed = await readSavedImage(chunked(archive, chunk), { image: expected, store, scratch });
  for (const layer of fed.layers) assert.equal(await store.verify(layer), 'ok');
  return fed;
}

describe('the image is the same from the archive of', () => {
  for (const [producer, entries] of Object.entries(archives)) {
    test(producer, async () => {
      for (const chunk of [100, 4096, 1 << 20]) {
        assert.deepEqual(await read(tarOf(entries), chunk), { config: image.config, layers: image.layers });
      }
    });
  }
});

test('layers that are in the store already are passed over', async () => {
  for (const entries of [modern, podman, archives['the containerd store with gzip'] ?? []]) {
    await using temporary = await temporaryStore();
    const options = { image, store: temporary.store, scratch: temporary.scratch };
    await readSavedImage(chunked(tarOf(entries)), options);
    const before = await temporary.store.list();
    assert.deepEqual((await readSavedImage(chunked(tarOf(entries)), options)).layers, image.layers);
    assert.deepEqual(await temporary.store.list(), before, 'no layer was written again');
  }
});

test('a manifest of the index that forgets the layers is not believed over the listing', async () => {
  // Docker 25.0.0 wrote such (moby issue 47065).
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { mediaType: 'x', digest: digestOf(config), size: config.length },
      layers: [],
    }),
  );
  assert.deepEqual((await read(tarOf([blob(manifest), ...modern]))).layers, image.layers);
});

test('a plain layer whose first file is named like the start of a document is a layer', async () => {
  const odd = tarOf([{ path: '{"a":1}' }, { path: '[' }]);
  const described = {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [digestOf(odd)] },
  };
  const configuration = Buffer.from(JSON.stringify(described));
  const archive = tarOf([
    file('aaa/layer.tar', odd),
    file(`${hex(configuration)}.json`, configuration),
    json('manifest.json', [
      { Config: `${hex(configuration)}.json`, RepoTags: null, Layers: ['aaa/layer.tar'] },
    ]),
  ]);
  const expected = { ...image, layers: [digestOf(odd)] };
  for (const chunk of [1, 100, 4096]) {
    assert.deepEqual((await read(archive, chunk, expected)).layers, [digestOf(odd)]);
  }
});

test('an image without layers is one', async () => {
  const empty = Buffer.from(
    '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null}}',
  );
  const archive = tarOf([
    file(`${hex(empty)}.json`, empty),
    json('manifest.json', [{ Config: `${hex(empty)}.json`, RepoTags: null, Layers: null }]),
  ]);
  assert.deepEqual((await read(archive, 4096, { ...image, layers: [] })).layers, []);
});

test('an archive that stops anywhere is refused, and nothing half stays', async () => {
  for (const entries of [legacy, modern, podman]) {
    const archive = tarOf(entries);
    for (let length = 0; length < archive.length - 512; length += 12_800) {
      await using temporary = await temporaryStore();
      const { store, scratch } = temporary;
      const cut = readSavedImage(chunked(archive.subarray(0, length)), { image, store, scratch });
      await assert.rejects(cut, `cut at ${length}`);
      assert.deepEqual(
        (await readdir(scratch)).filter((name) => name !== 'layers'),
        [],
      );
      for (const { diffId } of await store.list()) assert.equal(await store.verify(diffId), 'ok');
    }
  }
});

const listing = (value: unknown) => [
  ...modern.filter(({ path }) => path !== 'manifest.json'),
  json('manifest.json', value),
];
const entry = { Config: blobPath(config), RepoTags: null, Layers: layers.map(blobPath) };
const changed = Buffer.from(config.toString().replace('/bin/sh', '/bin/zz'));
const refused: Record<string, { entries: readonly BuildEntry[]; reason: RegExp; expected?: InspectedImage }> =
  {
    'two images': { entries: listing([entry, entry]), reason: /2 images/ },
    'no image': { entries: listing([]), reason: /0 images/ },
    'a listing of another form': { entries: listing({ a: 1 }), reason: /manifest\.json/ },
    'neither listing nor index': { entries: [blob(bottom)], reason: /neither/ },
    'a configuration that is missing': {
      entries: modern.filter(({ path }) => path !== blobPath(config)),
      reason: /configuration .* missing/,
    },
    'a configuration that was changed': {
      entries: [
        ...modern.filter(({ path }) => path !== blobPath(config)),
        { path: blobPath(config), data: changed },
      ],
      reason: /not what its name says/,
    },
    'a layer that is missing': {
      entries: modern.filter(({ path }) => path !== blobPath(top)),
      reason: /layer .* missing/,
    },
    'layers in another order': {
      entries: listing([{ ...entry, Layers: [top, bottom, bottom].map(blobPath) }]),
      reason: /not those of its configuration/,
    },
    'another image than the engine described': {
      entries: modern,
      expected: { ...image, layers: [digestOf(top)] },
      reason: /other layers/,
    },
    'links that lead round in a circle': {
      entries: [
        ...legacy.filter(({ path }) => !path.startsWith('aaa/layer')),
        { path: 'aaa/layer.tar', type: '2', link: '../ccc/layer.tar' },
      ],
      reason: /layer .* missing/,
    },
    'a link that leads out of the archive': {
      entries: [
        ...legacy.filter(({ path }) => path !== 'ccc/layer.tar'),
        { path: 'ccc/layer.tar', type: '2', link: '../../../../etc/passwd' },
      ],
      reason: /layer .* missing/,
    },
    'an index that leads nowhere': {
      entries: [json('index.json', { schemaVersion: 2, manifests: [] })],
      reason: /leads nowhere/,
    },
  };

describe('refused is an archive with', () => {
  for (const [what, { entries, reason, expected }] of Object.entries(refused)) {
    test(what, async () => {
      await assert.rejects(read(tarOf(entries), 4096, expected), (error: unknown) => {
        assert.ok(error instanceof ArchiveDamaged, String(error));
        assert.match(error.fields.reason, reason);
        assert.equal(error.fields.reference, 'test:1');
        return true;
      });
    });
  }

  test('a layer that is not what its name says', async () => {
    const wrong = Buffer.concat([top]);
    wrong[512] = 0x21;
    for (const path of [blobPath(top), `${hex(top)}.tar`]) {
      const entries = (path.startsWith('blobs') ? modern : podman).map((member) =>
        member.path === path ? file(path, wrong) : member,
      );
      await assert.rejects(read(tarOf(entries)), { name: 'DigestMismatch' });
    }
  });
});
