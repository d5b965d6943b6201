import { createHash } from 'node:crypto';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type BuildEntry, tarOf } from '../oci/tar-builder.ts';

/** The image that goes into every engine, made of nothing but this file: the same bytes on every machine. */
export interface MatrixImage {
  readonly config: Buffer;
  /** Plain layer tars, bottom first. */
  readonly layers: readonly Buffer[];
}

export type Form = 'plain' | 'gzip' | 'zstd';

export const architecture = process.arch === 'x64' ? 'amd64' : process.arch;

export function digestOf(bytes: Uint8Array): `sha256:${string}` {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A name whose bytes are UTF-8, in the one-byte form that the builder writes. */
const umlaut = Buffer.from('übung').toString('latin1');
const deep = `opt/${'a-directory-with-a-long-name/'.repeat(5)}`;
/** CAP_NET_RAW, permitted and effective: what file(1)'s neighbours call a version 2 capability (linux/capability.h). */
const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex').toString('latin1');

const directory = (path: string, more: Partial<BuildEntry> = {}): BuildEntry => ({
  path: `${path}/`,
  type: '5',
  mode: 0o755,
  mtime: 1_600_000_000,
  ...more,
});
const file = (path: string, content: string | Buffer, more: Partial<BuildEntry> = {}): BuildEntry => ({
  path,
  data: Buffer.from(content),
  mtime: 1_650_000_000,
  ...more,
});
const removed = (path: string): BuildEntry => file(path.replace(/([^/]+)$/, '.wh.$1'), '');

const first: readonly BuildEntry[] = [
  ...['bin', 'cache', 'cache/old', 'devices', 'etc', 'home', 'lib', 'opt', 'secret'].map((path) =>
    directory(path),
  ),
  directory('home/user', { uid: 1000, gid: 1001, mode: 0o700 }),
  directory('tmp', { mode: 0o1777 }),
  ...deep
    .split('/')
    .slice(1, -1)
    .map((_, at, names) => directory(`opt/${names.slice(0, at + 1).join('/')}`)),
  file('bin/tool', 'the tool\n', { mode: 0o755 }),
  { path: 'bin/alias', type: '1', link: 'bin/tool', mode: 0o755, mtime: 1_650_000_000 },
  { path: 'bin/again', type: '1', link: 'bin/tool', mode: 0o755, mtime: 1_650_000_000 },
  file('bin/su', 'sets the user\n', { mode: 0o4755 }),
  file('bin/ping', 'has a capability\n', {
    mode: 0o755,
    pax: { 'SCHILY.xattr.security.capability': capability },
  }),
  file('cache/old/entry', 'below an opaque directory\n'),
  file('cache/entry', 'in an opaque directory\n'),
  { path: 'devices/null', type: '3', mode: 0o666, device: [1, 3], mtime: 1_650_000_000 },
  { path: 'devices/pipe', type: '6', mode: 0o600, mtime: 1_650_000_000 },
  file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n'),
  file('etc/becomes-directory', 'a file at first\n'),
  directory('etc/becomes-file'),
  file('etc/becomes-file/inner', 'gone with its directory\n'),
  file('home/user/notes', 'mine\n', {
    uid: 1000,
    gid: 1001,
    mode: 0o640,
    pax: { 'SCHILY.xattr.user.note': 'kept' },
  }),
  { path: 'home/user/link', type: '2', link: '../../etc/passwd', mode: 0o777, mtime: 1_650_000_000 },
  { path: 'lib64', type: '2', link: 'lib', mode: 0o777, mtime: 1_650_000_000 },
  file('lib/empty', ''),
  file('lib/random', noise(3 << 20)),
  file(`${deep}pax`, 'a long name\n', { long: 'pax' }),
  file(`${deep}gnu`, 'a long name\n', { long: 'gnu' }),
  file(`${deep}prefix`, 'a long name\n', { long: 'prefix' }),
  file(`opt/${umlaut}`, 'not ASCII\n'),
  file('secret/token', 'must not come back\n'),
  file('secret/public', 'stays\n'),
];

const second: readonly BuildEntry[] = [
  directory('bin'),
  file('bin/tool', 'a newer tool\n', { mode: 0o755 }),
  directory('cache'),
  file('cache/.wh..wh..opq', ''),
  file('cache/fresh', 'new in the opaque directory\n'),
  directory('etc'),
  directory('etc/becomes-directory'),
  file('etc/becomes-directory/inner', 'in what was a file\n'),
  file('etc/becomes-file', 'was a directory\n'),
  directory('secret'),
  removed('secret/token'),
];

/** Comes twice, as a build step that is repeated does. */
const repeated: readonly BuildEntry[] = [
  directory('etc'),
  file('etc/motd', 'welcome\n'),
  { path: 'etc/motd.link', type: '1', link: 'etc/motd', mtime: 1_650_000_000 },
];

const fourth: readonly BuildEntry[] = [
  directory('etc'),
  removed('etc/motd.link'),
  removed('lib'),
  directory('tmp', { mode: 0o1777 }),
  file('tmp/left', 'x', { mtime: 1 }),
];

const last: readonly BuildEntry[] = [
  directory('lib', { mode: 0o750 }),
  file('lib/only', 'the directory was removed and made again\n'),
  directory('home'),
  directory('home/user', { uid: 1000, gid: 1001, mode: 0o711 }),
];

/** Paths that the whole stack leaves, and some of those that it does not. */
export const expectation = {
  present: [
    ...[
      'bin/tool',
      'bin/alias',
      'bin/again',
      'cache/fresh',
      'devices/null',
      'devices/pipe',
      'etc/motd',
      'etc/motd.link',
    ],
    ...[
      'etc/becomes-directory/inner',
      'etc/becomes-file',
      'lib/only',
      'lib64',
      'secret/public',
      `opt/${umlaut}`,
    ],
    ...['pax', 'gnu', 'prefix'].map((name) => deep + name),
  ],
  absent: [
    'secret/token',
    'cache/entry',
    'cache/old',
    'cache/old/entry',
    'etc/becomes-file/inner',
    'lib/random',
    'lib/empty',
  ],
};

export function matrixImage(): MatrixImage {
  const layers = [first, second, repeated, fourth, repeated, last].map((entries) => tarOf(entries));
  const config = {
    architecture,
    os: 'linux',
    created: '2024-01-02T03:04:05.678Z',
    config: {
      User: '1000:1001',
      ExposedPorts: { '8080/tcp': {}, '53/udp': {} },
      Env: ['PATH=/bin', 'EMPTY=', 'QUOTED=a "b" \\c é'],
      Entrypoint: ['/bin/tool', '--flag=a b'],
      Cmd: ['run'],
      Volumes: { '/cache': {} },
      WorkingDir: '/home/user',
      Labels: { 'org.example.b': '2', 'org.example.a': '<1>' },
      StopSignal: 'SIGINT',
    },
    rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
    history: [
      ...layers.map((_, at) => ({ created: '2024-01-02T03:04:05.678Z', created_by: `step ${at}` })),
      { created: '2024-01-02T03:04:05.678Z', created_by: 'ENV', empty_layer: true },
    ],
  };
  return { config: Buffer.from(JSON.stringify(config)), layers };
}

/** The image as an archive that `docker load` and `podman load` take, under the given name. */
export function archiveOf(image: MatrixImage, form: Form, name: string): Buffer {
  return form === 'plain' ? dockerArchive(image, name) : buildKitArchive(image, form, name);
}

/** As `docker save` wrote it before 25: no digest of a layer anywhere but in the configuration. */
function dockerArchive({ config, layers }: MatrixImage, name: string): Buffer {
  const configName = `${digestOf(config).slice(7)}.json`;
  const paths = layers.map((layer) => `${digestOf(layer).slice(7)}/layer.tar`);
  return tarOf([
    file(configName, config),
    ...unique(layers).map((layer) => file(`${digestOf(layer).slice(7)}/layer.tar`, layer)),
    file('manifest.json', JSON.stringify([{ Config: configName, RepoTags: [name], Layers: paths }])),
  ]);
}

/**
 * As BuildKit exports with provenance: compressed layers, and an index in the index, which has an attestation beside
 * the image (docs.docker.com, Image attestation storage). A manifest.json serves engines that know no other.
 */
function buildKitArchive({ config, layers }: MatrixImage, form: 'gzip' | 'zstd', name: string): Buffer {
  const blobs = new Map<string, Buffer>();
  const blob = (mediaType: string, bytes: Buffer, more: object = {}) => {
    blobs.set(digestOf(bytes), bytes);
    return { mediaType, digest: digestOf(bytes), size: bytes.length, ...more };
  };
  const json = (mediaType: string, value: object, more: object = {}) =>
    blob(mediaType, Buffer.from(JSON.stringify({ mediaType, ...value })), more);
  const compress = form === 'gzip' ? gzipSync : zstdCompressSync;
  const manifestType = 'application/vnd.oci.image.manifest.v1+json';
  const indexType = 'application/vnd.oci.image.index.v1+json';
  const configType = 'application/vnd.oci.image.config.v1+json';

  const packed = layers.map((layer) =>
    blob(`application/vnd.oci.image.layer.v1.tar+${form}`, compress(layer)),
  );
  const manifest = json(
    manifestType,
    { schemaVersion: 2, config: blob(configType, config), layers: packed },
    { platform: { architecture, os: 'linux' } },
  );
  const statement = Buffer.from(JSON.stringify({ _type: 'https://in-toto.io/Statement/v0.1', subject: [] }));
  const attestation = json(
    manifestType,
    {
      schemaVersion: 2,
      config: blob(
        configType,
        Buffer.from(
          JSON.stringify({
            architecture: 'unknown',
            os: 'unknown',
            config: {},
            rootfs: { type: 'layers', diff_ids: [digestOf(statement)] },
          }),
        ),
      ),
      layers: [
        blob('application/vnd.in-toto+json', statement, {
          annotations: { 'in-toto.io/predicate-type': 'https://slsa.dev/provenance/v0.2' },
        }),
      ],
    },
    {
      annotations: {
        'vnd.docker.reference.digest': manifest.digest,
        'vnd.docker.reference.type': 'attestation-manifest',
      },
      platform: { architecture: 'unknown', os: 'unknown' },
    },
  );
  const [, tag = ''] = name.split(':');
  const index = json(
    indexType,
    { schemaVersion: 2, manifests: [manifest, attestation] },
    { annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': tag } },
  );
  const place = (digest: string) => `blobs/sha256/${digest.slice(7)}`;
  return tarOf([
    directory('blobs'),
    directory('blobs/sha256'),
    ...[...blobs].map(([digest, bytes]) => file(place(digest), bytes)),
    file('index.json', JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: [index] })),
    file(
      'manifest.json',
      JSON.stringify([
        {
          Config: place(digestOf(config)),
          RepoTags: [name],
          Layers: packed.map(({ digest }) => place(digest)),
        },
      ]),
    ),
    file('oci-layout', '{"imageLayoutVersion":"1.0.0"}'),
  ]);
}

function unique(layers: readonly Buffer[]): Buffer[] {
  return [...new Map(layers.map((layer) => [digestOf(layer), layer])).values()];
}

/** Bytes that do not compress, the same each time. */
function noise(size: number): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at * 32 < size; at += 1) pieces.push(createHash('sha256').update(`noise ${at}`).digest());
  return Buffer.concat(pieces).subarray(0, size);
}
