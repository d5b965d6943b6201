import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { Digest } from '../oci/digest.ts';
import {
  type Artifact,
  type ArtifactExpectation,
  damaged,
  openArtifact,
  readOpenArtifact,
} from './artifact.ts';
import { AssetsWalk } from './artifact-assets.ts';

export interface VerifyArtifactOptions {
  readonly expected?: ArtifactExpectation;
  /** The digest the whole file must have. Without it a flipped bit in the footer's unused bytes cannot be found. */
  readonly sha256?: Digest;
  /** Also decompresses the assets and walks their tar to its end. */
  readonly deep?: boolean;
  /** Called with the number of bytes done since the last call. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

export interface VerifiedArtifact extends Artifact {
  /** Digest of the whole file. */
  readonly sha256: Digest;
}

const chunkBytes = 1024 * 1024;

/**
 * `readArtifact` and then every byte once, for the CRC-32 alone: for whoever is about to hand the file to smolvm, which
 * looks at no sum when it makes a machine (v0.8.0 to v1.9.3, src/cli/machine.rs `run_from_smolmachine`).
 * @throws ArtifactDamaged, or the reason of `signal`.
 */
export async function readSoundArtifact(path: string, signal?: AbortSignal): Promise<Artifact> {
  await using file = await openArtifact(path);
  const artifact = await readOpenArtifact(path, file);
  const covered = artifact.assetsSize + artifact.manifestSize;
  let crc = 0;
  for await (const { bytes } of chunksOf(file, covered)) {
    signal?.throwIfAborted();
    crc = crc32(bytes, crc);
  }
  expectSum(artifact, crc);
  return artifact;
}

/**
 * `readArtifact` and then every byte, read once: CRC-32 as the footer states it, SHA-256 of the whole file, with `deep`
 * the assets too. Holds two chunks of 1 MiB (and with `deep` the decoder's window), whatever the size.
 * @throws ArtifactDamaged, ArtifactMismatch, or the reason of `signal`.
 */
export async function verifyArtifact(
  path: string,
  options: VerifyArtifactOptions = {},
): Promise<VerifiedArtifact> {
  await using file = await openArtifact(path);
  const artifact = await readOpenArtifact(path, file, options.expected);
  const covered = artifact.assetsSize + artifact.manifestSize;
  const hash = createHash('sha256');
  await using assets = options.deep === true ? new AssetsWalk(artifact) : undefined;
  let crc = 0;
  for await (const { at, bytes } of chunksOf(file, artifact.size)) {
    options.signal?.throwIfAborted();
    crc = crc32(bytes.subarray(0, Math.max(0, covered - at)), crc);
    hash.update(bytes);
    await assets?.write(bytes.subarray(0, Math.max(0, artifact.assetsSize - at)));
    options.onBytes?.(bytes.length);
  }
  expectSum(artifact, crc);
  const sha256: Digest = `sha256:${hash.digest('hex')}`;
  if (options.sha256 !== undefined && options.sha256 !== sha256) {
    throw damaged(path, 'sha256', `recorded ${options.sha256}, found ${sha256}`);
  }
  await assets?.end();
  return { ...artifact, sha256 };
}

/** The file front to back. The next chunk is read while the current one is worked on; each is valid until the next. */
async function* chunksOf(file: FileHandle, size: number): AsyncGenerator<{ at: number; bytes: Buffer }> {
  const buffers: [Buffer, Buffer] = [Buffer.allocUnsafe(chunkBytes), Buffer.allocUnsafe(chunkBytes)];
  const read = (into: Buffer, at: number) => {
    const started = file.read(into, 0, Math.min(chunkBytes, size - at), at);
    // Its failure is met where it is awaited, which may be later than it happens.
    started.catch(() => undefined);
    return started;
  };
  let [current, next] = buffers;
  let pending = read(current, 0);
  try {
    for (let at = 0; at < size;) {
      const { bytesRead } = await pending;
      if (bytesRead === 0) return;
      const bytes = current.subarray(0, bytesRead);
      pending = read(next, at + bytesRead);
      yield { at, bytes };
      at += bytesRead;
      [current, next] = [next, current];
    }
  } finally {
    // The file must not be closed, nor the buffer freed, under a read that is still going on.
    await pending.catch(() => undefined);
  }
}

function expectSum({ path, crc32: expected }: Artifact, found: number): void {
  if (found === expected) return;
  throw damaged(path, 'crc32', `the footer says ${hex(expected)}, the bytes give ${hex(found)}`);
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
