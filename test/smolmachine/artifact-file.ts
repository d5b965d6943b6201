import { createHash } from 'node:crypto';
import { crc32, zstdCompressSync } from 'node:zlib';
import type { Digest } from '../../src/oci/digest.ts';

/** A file of the assets: its name in the tar, and its bytes. */
export interface Member {
  readonly path: string;
  readonly data: Buffer;
  /** Written as an old GNU sparse file: one run of data, then a hole up to this size. */
  readonly sparseSize?: number;
}

export interface ArtifactOptions {
  readonly members?: readonly Member[];
  /** Laid over the manifest. */
  readonly manifest?: Record<string, unknown>;
  readonly manifestText?: string;
  readonly assets?: Buffer;
  /** Laid over the footer's fields. */
  readonly footer?: Partial<Record<FooterField, bigint>>;
}

type FooterField =
  'version' | 'stubSize' | 'assetsOffset' | 'assetsSize' | 'manifestOffset' | 'manifestSize' | 'crc32';

export const configDigest: Digest = `sha256:${'ab'.repeat(32)}`;

export const someMembers: readonly Member[] = [
  { path: 'agent-rootfs.tar', data: Buffer.alloc(3000, 'agent') },
  { path: `layers/${'cd'.repeat(32)}.tar`, data: Buffer.alloc(70_000, 'layer') },
];

/** A `.smolmachine` as smolvm's packer writes it: assets, manifest, footer. */
export function artifactFile(options: ArtifactOptions = {}): Buffer {
  const members = options.members ?? someMembers;
  const assets = options.assets ?? zstdCompressSync(tarOf(members));
  const manifest = Buffer.from(
    options.manifestText ?? JSON.stringify({ ...manifestOf(members), ...options.manifest }, undefined, 2),
  );
  const body = Buffer.concat([assets, manifest]);
  const fields = {
    version: 1n,
    stubSize: 0n,
    assetsOffset: 0n,
    assetsSize: BigInt(assets.length),
    manifestOffset: BigInt(assets.length),
    manifestSize: BigInt(manifest.length),
    crc32: BigInt(crc32(body)),
    ...options.footer,
  };
  const footer = Buffer.alloc(64);
  footer.write('SMOLPACK', 0, 'latin1');
  footer.writeUInt32LE(Number(fields.version), 8);
  footer.writeBigUInt64LE(fields.stubSize, 12);
  footer.writeBigUInt64LE(fields.assetsOffset, 20);
  footer.writeBigUInt64LE(fields.assetsSize, 28);
  footer.writeBigUInt64LE(fields.manifestOffset, 36);
  footer.writeBigUInt64LE(fields.manifestSize, 44);
  footer.writeUInt32LE(Number(fields.crc32), 52);
  return Buffer.concat([body, footer]);
}

export function sha256Of(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function manifestOf(members: readonly Member[]) {
  const sized = members.map(({ path, data, sparseSize }) => ({ path, size: sparseSize ?? data.length }));
  return {
    mode: 'container',
    image: '127.0.0.1:40000/claude-bottle:abababababababab',
    digest: configDigest,
    platform: 'linux/amd64',
    env: ['PATH=/bin'],
    cpus: 4,
    mem: 8192,
    image_size: 123_456,
    network: false,
    gpu: false,
    host_platform: 'linux/amd64',
    created: '2026-08-21T00:00:00Z',
    smolvm_version: '1.9.3',
    assets: {
      libraries: [],
      agent_rootfs: sized.find(({ path }) => path === 'agent-rootfs.tar') ?? { path: '', size: 0 },
      layers: sized
        .filter(({ path }) => path.startsWith('layers/'))
        .map((one) => ({ ...one, digest: `sha256:${'cd'.repeat(32)}` })),
      storage_template: sized.find(({ path }) => path === 'storage.ext4'),
    },
  };
}

export function tarOf(members: readonly Member[]): Buffer {
  const blocks = members.flatMap(({ path, data, sparseSize }) => {
    const padded = Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
    if (path.length <= 100) return [header(path, data.length, sparseSize), padded];
    const name = Buffer.from(`${path}\0`);
    return [
      header('././@LongLink', name.length, undefined, 'L'),
      Buffer.concat([name, Buffer.alloc((512 - (name.length % 512)) % 512)]),
      header(path.slice(0, 100), data.length, sparseSize),
      padded,
    ];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

function header(
  path: string,
  size: number,
  sparseSize?: number,
  type = sparseSize === undefined ? '0' : 'S',
) {
  const octal = (value: number) => `${value.toString(8).padStart(11, '0')}\0`;
  const block = Buffer.alloc(512);
  block.write(path, 0, 'latin1');
  block.write('0000644\0', 100);
  block.write(octal(size), 124);
  block.write('        ', 148);
  block.write(type, 156);
  block.write('ustar  \0', 257);
  if (sparseSize !== undefined) {
    block.write(octal(0), 386);
    block.write(octal(size), 398);
    block.write(octal(sparseSize), 410);
    block.write(octal(0), 422);
    // Byte 482 says that one more block of the map follows the header.
    block[482] = 1;
    block.write(octal(sparseSize), 483);
  }
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return sparseSize === undefined ? block : Buffer.concat([block, Buffer.alloc(512)]);
}
