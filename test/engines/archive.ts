import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { Digest } from '../../src/oci/digest.ts';
import { tarOf } from '../oci/tar-builder.ts';
import { architecture, digestOf, directory, file, type MatrixImage } from './image.ts';

/** How the layers lie in the archive; with the containerd image store also how the engine keeps and pushes them. */
export type Form = 'plain' | 'gzip' | 'zstd' | 'one of two platforms';

export interface Archive {
  readonly bytes: Buffer;
  /** The digest of the index that names the image, where there is one. */
  readonly index?: Digest;
}

/** The image as an archive that `docker load` and `podman load` take, under the given name. */
export function makeArchive(image: MatrixImage, form: Form, name: string): Archive {
  return form === 'plain' ? dockerArchive(image, name) : buildKitArchive(image, form, name);
}

/** As `docker save` wrote it before 25: no digest of a layer anywhere but in the configuration. */
function dockerArchive({ config, layers }: MatrixImage, name: string): Archive {
  const configName = `${digestOf(config).slice(7)}.json`;
  const paths = layers.map((layer) => `${digestOf(layer).slice(7)}/layer.tar`);
  const bytes = tarOf([
    file(configName, config),
    ...unique(layers).map((layer) => file(`${digestOf(layer).slice(7)}/layer.tar`, layer)),
    file('manifest.json', JSON.stringify([{ Config: configName, RepoTags: [name], Layers: paths }])),
  ]);
  return { bytes };
}

/**
 * As BuildKit exports with provenance: compressed layers, and an index in the index, which has an attestation beside
 * the image (docs.docker.com, Image attestation storage). A manifest.json serves engines that know no other.
 */
function buildKitArchive(
  { config, layers }: MatrixImage,
  form: Exclude<Form, 'plain'>,
  name: string,
): Archive {
  const blobs = new Map<string, Buffer>();
  const blob = (mediaType: string, bytes: Buffer, more: object = {}) => {
    blobs.set(digestOf(bytes), bytes);
    return { mediaType, digest: digestOf(bytes), size: bytes.length, ...more };
  };
  const json = (mediaType: string, value: object, more: object = {}) =>
    blob(mediaType, Buffer.from(JSON.stringify({ mediaType, ...value })), more);
  const compression = form === 'zstd' ? 'zstd' : 'gzip';
  const compress = form === 'zstd' ? zstdCompressSync : gzipSync;
  const manifestType = 'application/vnd.oci.image.manifest.v1+json';
  const indexType = 'application/vnd.oci.image.index.v1+json';
  const configType = 'application/vnd.oci.image.config.v1+json';

  const packed = layers.map((layer) =>
    blob(`application/vnd.oci.image.layer.v1.tar+${compression}`, compress(layer)),
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
  // A pull fetches what one platform needs; the index still names the others.
  const other = Buffer.from('not here');
  const others =
    form === 'one of two platforms'
      ? [
          {
            mediaType: manifestType,
            digest: digestOf(other),
            size: other.length,
            platform: { architecture: 's390x', os: 'linux' },
          },
        ]
      : [];
  const [, tag = ''] = name.split(':');
  const index = json(
    indexType,
    { schemaVersion: 2, manifests: [...others, manifest, attestation] },
    { annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': tag } },
  );
  const place = (digest: string) => `blobs/sha256/${digest.slice(7)}`;
  const bytes = tarOf([
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
  return { bytes, index: index.digest };
}

function unique(layers: readonly Buffer[]): Buffer[] {
  return [...new Map(layers.map((layer) => [digestOf(layer), layer])).values()];
}
