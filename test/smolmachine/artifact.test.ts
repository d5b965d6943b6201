import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { readArtifact } from '../../src/smolmachine/artifact.ts';
import { verifyArtifact } from '../../src/smolmachine/artifact-verify.ts';
import { type ArtifactDamage, ArtifactDamaged, ArtifactMismatch } from '../../src/smolmachine/errors.ts';
import { temporary } from '../process/child.ts';
import {
  type ArtifactOptions,
  artifactFile,
  configDigest,
  sha256Of,
  someMembers,
  tarOf,
} from './artifact-file.ts';

const damage = (reason: ArtifactDamage) => (error: unknown) =>
  error instanceof ArtifactDamaged && error.fields.reason === reason && error.fields.detail !== '';

async function written(bytes: Buffer) {
  const directory = await temporary();
  const path = join(directory.path, 'a.smolmachine');
  await writeFile(path, bytes);
  return { path, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

describe('reading an artifact', () => {
  test('tells sizes and manifest', async () => {
    const bytes = artifactFile();
    await using file = await written(bytes);
    const artifact = await readArtifact(file.path, { platform: 'linux/amd64', imageDigest: configDigest });
    assert.equal(artifact.size, bytes.length);
    assert.equal(artifact.assetsSize + artifact.manifestSize + 64, bytes.length);
    assert.equal(artifact.manifest.smolvm_version, '1.9.3');
    assert.deepEqual(
      artifact.manifest.assets.layers.map(({ size }) => size),
      [70_000],
    );
  });

  test('accepts what versions 1 to 3 wrote, and keys it does not know', async () => {
    for (const version of [1n, 2n, 3n]) {
      await using file = await written(artifactFile({ footer: { version }, manifest: { later: [1] } }));
      await readArtifact(file.path);
    }
  });

  test('accepts a manifest without the keys that smolvm itself may leave out', async () => {
    const manifestText = JSON.stringify({
      image: 'a',
      digest: configDigest,
      platform: 'linux/amd64',
      cpus: 1,
      mem: 1,
      assets: { libraries: [], agent_rootfs: { path: 'agent-rootfs.tar', size: 0 }, layers: [] },
    });
    await using file = await written(artifactFile({ manifestText }));
    assert.equal((await readArtifact(file.path)).manifest.mode, 'container');
  });

  const wrong: readonly (readonly [string, ArtifactDamage, ArtifactOptions])[] = [
    ['an unknown version', 'unknown-version', { footer: { version: 4n } }],
    ['a stub', 'not-a-sidecar', { footer: { stubSize: 1n } }],
    ['assets that do not begin the file', 'not-a-sidecar', { footer: { assetsOffset: 1n } }],
    ['a manifest elsewhere', 'sizes', { footer: { manifestOffset: 0n } }],
    ['sizes beyond the file', 'sizes', { footer: { manifestSize: 1n << 40n } }],
    ['sizes that overflow', 'sizes', { footer: { manifestSize: (1n << 64n) - 1n } }],
    ['a manifest that is no JSON', 'manifest', { manifestText: '{' }],
    ['a manifest of another shape', 'manifest', { manifest: { digest: 7 } }],
    ['a manifest above 16 MiB', 'manifest', { manifestText: `"${'x'.repeat(16 * 1024 * 1024)}"` }],
  ];
  for (const [name, reason, options] of wrong) {
    test(`refuses ${name}`, async () => {
      await using file = await written(artifactFile(options));
      await assert.rejects(readArtifact(file.path), damage(reason));
    });
  }

  test('refuses bytes before or after', async () => {
    for (const bytes of [
      Buffer.concat([Buffer.from('x'), artifactFile()]),
      Buffer.concat([artifactFile(), Buffer.from('x')]),
    ]) {
      await using file = await written(bytes);
      await assert.rejects(readArtifact(file.path), ArtifactDamaged);
    }
  });

  test('names what is missing, empty, a directory or a pipe, and never hangs on it', async () => {
    await using directory = await temporary();
    const at = (name: string) => join(directory.path, name);
    await writeFile(at('empty'), '');
    await mkdir(at('directory'));
    execFileSync('mkfifo', [at('pipe')]);
    await assert.rejects(readArtifact(at('absent')), damage('missing'));
    await assert.rejects(readArtifact(at('empty')), damage('too-short'));
    await assert.rejects(readArtifact(at('directory')), damage('not-a-file'));
    await assert.rejects(readArtifact(at('pipe')), damage('not-a-file'));
  });

  test('tells another platform and another image apart from damage', async () => {
    await using file = await written(artifactFile());
    await assert.rejects(
      readArtifact(file.path, { platform: 'linux/arm64' }),
      (error) => error instanceof ArtifactMismatch && error.fields.what === 'platform',
    );
    await assert.rejects(
      readArtifact(file.path, { imageDigest: `sha256:${'00'.repeat(32)}` }),
      (error) => error instanceof ArtifactMismatch && error.fields.found === configDigest,
    );
    await readArtifact(file.path, { platform: 'linux/amd64/v1' });
  });

  test('finds every truncation of a small file, byte by byte', async () => {
    const bytes = artifactFile({ members: [{ path: 'agent-rootfs.tar', data: randomBytes(600) }] });
    await using file = await written(bytes);
    for (let size = bytes.length - 1; size >= 0; size -= 1) {
      await truncate(file.path, size);
      await assert.rejects(readArtifact(file.path), ArtifactDamaged, `cut to ${size} of ${bytes.length}`);
    }
  });

  test('finds any truncation of files of any size', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 300_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        async (size, where) => {
          const data = randomBytes(size);
          const bytes = artifactFile({ members: [{ path: 'agent-rootfs.tar', data }] });
          await using file = await written(bytes);
          await truncate(file.path, Math.min(bytes.length - 1, Math.floor(where * bytes.length)));
          await assert.rejects(readArtifact(file.path), ArtifactDamaged);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('verifying an artifact', () => {
  test('passes a sound one, tells its digest, and reports every byte once', async () => {
    const data = randomBytes(3_500_000);
    const bytes = artifactFile({ members: [{ path: 'agent-rootfs.tar', data }] });
    await using file = await written(bytes);
    let seen = 0;
    const onBytes = (count: number) => {
      seen += count;
    };
    const verified = await verifyArtifact(file.path, { deep: true, sha256: sha256Of(bytes), onBytes });
    assert.equal(verified.sha256, sha256Of(bytes));
    assert.equal(seen, bytes.length);
  });

  test('finds every single flipped bit of a small file', async () => {
    const bytes = artifactFile({ members: [] });
    await using file = await written(bytes);
    const sha256 = sha256Of(bytes);
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const flipped = Buffer.from(bytes);
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      await writeFile(file.path, flipped);
      await assert.rejects(verifyArtifact(file.path, { sha256 }), ArtifactDamaged, `bit ${bit}`);
    }
  });

  test('finds any flipped bit in assets or manifest by the CRC alone, in files of any size', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 2_500_000 }),
        fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
        async (size, where) => {
          const data = randomBytes(size);
          const bytes = artifactFile({ members: [{ path: 'agent-rootfs.tar', data }] });
          const bit = Math.floor(where * (bytes.length - 64) * 8);
          bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
          await using file = await written(bytes);
          await assert.rejects(verifyArtifact(file.path), ArtifactDamaged);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('refuses a sound file that is not the recorded one', async () => {
    await using file = await written(artifactFile());
    await assert.rejects(verifyArtifact(file.path, { sha256: configDigest }), damage('sha256'));
  });

  test('stops with the reason of the signal', async () => {
    await using file = await written(artifactFile());
    const reason = new Error('stop');
    await assert.rejects(
      verifyArtifact(file.path, { signal: AbortSignal.abort(reason) }),
      (error) => error === reason,
    );
  });

  test('walks the assets of every form that smolvm writes', async () => {
    const members = [
      ...someMembers,
      { path: `layers/${'e'.repeat(150)}.tar`, data: Buffer.alloc(513, 1) },
      { path: 'storage.ext4', data: Buffer.alloc(1024, 2), sparseSize: 9_000_000 },
    ];
    await using file = await written(artifactFile({ members }));
    await verifyArtifact(file.path, { deep: true });
  });

  const hollow: readonly (readonly [string, ArtifactOptions])[] = [
    ['assets that are not compressed', { assets: tarOf(someMembers) }],
    ['compressed data that is cut', { assets: zstdCompressSync(tarOf(someMembers)).subarray(0, -5) }],
    ['bytes behind the compressed data', { assets: withTail(zstdCompressSync(tarOf(someMembers))) }],
    ['a tar without its end', { assets: zstdCompressSync(tarOf(someMembers).subarray(0, -1024)) }],
    ['a tar cut inside a file', { assets: zstdCompressSync(tarOf(someMembers).subarray(0, 2000)) }],
    ['a tar with a wrong header', { assets: zstdCompressSync(Buffer.alloc(2048, 'x')) }],
    [
      'a layer that the manifest lists and the tar lacks',
      { assets: zstdCompressSync(tarOf(someMembers.slice(0, 1))) },
    ],
    ['no assets at all', { assets: Buffer.alloc(0) }],
  ];
  for (const [name, options] of hollow) {
    test(`finds ${name} when it looks deeper`, async () => {
      const manifest = JSON.parse(
        artifactFile()
          .subarray(zstdCompressSync(tarOf(someMembers)).length, -64)
          .toString(),
      ) as Record<string, unknown>;
      await using file = await written(artifactFile({ ...options, manifest }));
      await verifyArtifact(file.path);
      await assert.rejects(verifyArtifact(file.path, { deep: true }), damage('assets'));
    });
  }

  function withTail(bytes: Buffer): Buffer {
    return Buffer.concat([bytes, Buffer.from('tail')]);
  }
});
