import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import * as v from 'valibot';
import { count, held, number, options } from '../schema.ts';
import { type ArtifactDamage, ArtifactDamaged, ArtifactMismatch } from './errors.ts';

/** Bytes of the footer, which ends the file (smolvm v1.9.3, crates/smolvm-pack/src/format.rs FOOTER_SIZE). */
const footerBytes = 64;
const magic = Buffer.from('SMOLPACK', 'latin1');
/** Written as 1 by every release; 2 and 3 have the same layout (format.rs SUPPORTED_READ_VERSIONS). */
const versions: ReadonlySet<number> = new Set([1, 2, 3]);
const maxManifestBytes = 16 * 1024 * 1024;

const Asset = v.object({ path: v.string(), size: count });

/** What we rely on of smolvm's manifest (format.rs PackManifest); keys of later versions are let through. */
const ArtifactManifest = v.object({
  mode: v.optional(v.picklist(['container', 'vm']), 'container'),
  /** The reference that smolvm was told to pull. */
  image: v.string(),
  /** Digest of the image's config. */
  digest: v.string(),
  /** `os/architecture` of the guest. */
  platform: v.string(),
  host_platform: v.optional(v.string(), ''),
  smolvm_version: v.optional(v.string(), ''),
  image_size: v.optional(v.pipe(number, v.minValue(0)), 0),
  /** `NAME=VALUE`, the image's; left out when there is none. */
  env: v.optional(v.array(v.string()), []),
  assets: options({
    agent_rootfs: v.optional(Asset),
    layers: v.optional(v.array(v.object({ ...Asset.entries, digest: v.string() })), []),
  }),
});
export type ArtifactManifest = Readonly<v.InferOutput<typeof ArtifactManifest>>;

/** A `.smolmachine` whose footer and manifest are sound. Its assets have not been looked at. */
export interface Artifact {
  readonly path: string;
  /** Bytes of the whole file. */
  readonly size: number;
  /** Bytes of the compressed assets, which begin the file; the manifest and the footer follow. */
  readonly assetsSize: number;
  readonly manifestSize: number;
  /** CRC-32 of assets and manifest, as the footer states it. */
  readonly crc32: number;
  readonly manifest: ArtifactManifest;
}

/** What an artifact must have been made from. Absent fields are not compared. */
export interface ArtifactExpectation {
  /** `os/architecture`, such as `linux/amd64`. A variant behind it is not compared: smolvm writes none. */
  readonly platform?: string;
  /** Digest of the image's config. */
  readonly imageDigest?: string;
}

/**
 * Reads footer and manifest and holds them against the file's size: two small reads, so cheap enough for every cache
 * hit. Any truncation is found, because the footer moves; a changed byte in the assets is not, see `verifyArtifact`.
 * Rules: smolvm v0.8.0 to v1.9.3, crates/smolvm-pack/src/{format,packer}.rs, and stricter in one point: the parts must
 * add up to the file exactly, which is what the writer always produces.
 * @throws ArtifactDamaged, ArtifactMismatch.
 */
export async function readArtifact(path: string, expected: ArtifactExpectation = {}): Promise<Artifact> {
  await using file = await openArtifact(path);
  return await readOpenArtifact(path, file, expected);
}

/** Opens a regular file for reading; anything else there is damage, and a pipe is never waited for. */
export async function openArtifact(path: string): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw damaged(path, 'missing', 'there is no such file');
    if (code === 'ENXIO' || code === 'ELOOP') throw damaged(path, 'not-a-file', code);
    throw error;
  }
  const stats = await file.stat();
  if (stats.isFile()) return file;
  await file.close();
  throw damaged(path, 'not-a-file', 'it is no regular file');
}

/** `readArtifact` on a file that is open already. */
export async function readOpenArtifact(
  path: string,
  file: FileHandle,
  expected: ArtifactExpectation = {},
): Promise<Artifact> {
  const { size } = await file.stat();
  if (size < footerBytes) throw damaged(path, 'too-short', `${size} bytes`);
  const footer = parseFooter(path, size, await readExactly(path, file, size - footerBytes, footerBytes));
  const text = await readExactly(path, file, footer.assetsSize, footer.manifestSize);
  const manifest = parseManifest(path, text);
  expect(path, manifest, expected);
  return { path, size, ...footer, manifest };
}

function parseFooter(path: string, size: number, footer: Buffer) {
  if (!footer.subarray(0, magic.length).equals(magic)) {
    throw damaged(path, 'no-footer', `its last ${footerBytes} bytes are no footer`);
  }
  const version = footer.readUInt32LE(8);
  if (!versions.has(version)) throw damaged(path, 'unknown-version', `format version ${version}`);
  const stubSize = footer.readBigUInt64LE(12);
  const assetsOffset = footer.readBigUInt64LE(20);
  const assetsSize = footer.readBigUInt64LE(28);
  const manifestOffset = footer.readBigUInt64LE(36);
  const manifestSize = footer.readBigUInt64LE(44);
  if (stubSize !== 0n || assetsOffset !== 0n) {
    throw damaged(path, 'not-a-sidecar', `stub of ${stubSize} bytes, assets at ${assetsOffset}`);
  }
  const sum = assetsSize + manifestSize + BigInt(footerBytes);
  if (manifestOffset !== assetsSize || sum !== BigInt(size)) {
    throw damaged(path, 'sizes', `the footer tells of ${sum} bytes, the file has ${size}`);
  }
  if (manifestSize > maxManifestBytes) {
    throw damaged(path, 'manifest', `${manifestSize} bytes, at most ${maxManifestBytes} are allowed`);
  }
  return {
    assetsSize: Number(assetsSize),
    manifestSize: Number(manifestSize),
    crc32: footer.readUInt32LE(52),
  };
}

function parseManifest(path: string, text: Buffer): ArtifactManifest {
  let json: unknown;
  try {
    json = JSON.parse(text.toString('utf8'));
  } catch (error) {
    throw damaged(path, 'manifest', 'it is no JSON', error);
  }
  const result = held(ArtifactManifest, json);
  if ('data' in result) return result.data;
  const fields = result.misfits.map((misfit) => misfit.path.join('.') || 'the whole').join(', ');
  throw damaged(path, 'manifest', `missing or wrong: ${fields}`);
}

function expect(path: string, manifest: ArtifactManifest, expected: ArtifactExpectation): void {
  const { platform, imageDigest } = expected;
  if (platform !== undefined && withoutVariant(manifest.platform) !== withoutVariant(platform)) {
    throw new ArtifactMismatch({ path, what: 'platform', expected: platform, found: manifest.platform });
  }
  if (imageDigest !== undefined && manifest.digest !== imageDigest) {
    throw new ArtifactMismatch({ path, what: 'image', expected: imageDigest, found: manifest.digest });
  }
}

function withoutVariant(platform: string): string {
  return platform.split('/').slice(0, 2).join('/');
}

async function readExactly(path: string, file: FileHandle, start: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, start + filled);
    if (bytesRead === 0) throw damaged(path, 'sizes', 'it became shorter while it was read');
    filled += bytesRead;
  }
  return buffer;
}

export function damaged(
  path: string,
  reason: ArtifactDamage,
  detail: string,
  cause?: unknown,
): ArtifactDamaged {
  return new ArtifactDamaged({ path, reason, detail }, cause === undefined ? {} : { cause });
}
