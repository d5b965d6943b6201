import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { Digest } from '../../../src/oci/digest.ts';
import type { Blob, FlatImage } from '../../../src/oci/image.ts';

export function sha256(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A blob that hands out one and the same buffer again and again, as the contract of Blob allows. */
export function blobOf(bytes: Buffer, chunk = 64 * 1024): Blob {
  return {
    digest: sha256(bytes),
    size: bytes.length,
    async *read(start, end) {
      const buffer = Buffer.alloc(chunk);
      for (let at = start; at < end; at += chunk) {
        const length = Math.min(chunk, end - at);
        bytes.copy(buffer, 0, at, at + length);
        yield buffer.subarray(0, length);
        buffer.fill(0xee);
      }
    },
  };
}

/** A blob that reads a file, again with one buffer. */
export async function fileBlob(path: string): Promise<Blob & AsyncDisposable> {
  const file = await open(path);
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of file.createReadStream({ autoClose: false, start: 0 })) {
    hash.update(chunk as Buffer);
    size += (chunk as Buffer).length;
  }
  return {
    digest: `sha256:${hash.digest('hex')}`,
    size,
    async *read(start, end) {
      const buffer = Buffer.alloc(1 << 20);
      for (let at = start; at < end;) {
        const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, end - at), at);
        if (bytesRead === 0) throw new Error('the file is short');
        yield buffer.subarray(0, bytesRead);
        at += bytesRead;
      }
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}

/** A one-layer image around a plain tar, made by hand so that it depends on nothing of ours. */
export function flatImageOf(layer: Blob, settings: object = {}): FlatImage {
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: { Env: ['PATH=/bin'], Cmd: ['true'], ...settings },
      rootfs: { type: 'layers', diff_ids: [layer.digest] },
    }),
  );
  const layerMediaType = 'application/vnd.oci.image.layer.v1.tar';
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: sha256(config),
        size: config.length,
      },
      layers: [{ mediaType: layerMediaType, digest: layer.digest, size: layer.size }],
    }),
  );
  return {
    manifest,
    manifestDigest: sha256(manifest),
    config,
    configDigest: sha256(config),
    layer,
    layerMediaType,
    plainSize: layer.size,
    [Symbol.asyncDispose]: async () => undefined,
  };
}
