import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import type { Digest } from '../../../src/oci/digest.ts';
import { LayerStore } from '../../../src/oci/layer-store.ts';
import { EmbeddedRegistry } from '../../../src/oci/registry/embedded-registry.ts';
import type { Receiver } from '../../../src/oci/registry/receiver.ts';
import { run } from '../../../src/process/run.ts';
import { type Answer, ask, basic, type Question } from './ask.ts';
import { sha256 } from './flat-image-of.ts';

export const uploads = '/v2/claude-bottle/blobs/uploads/';
export const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
export const ociIndex = 'application/vnd.oci.image.index.v1+json';

/** A registry that receives into a store of its own. */
export class Bench implements AsyncDisposable {
  readonly root: string;
  readonly store: LayerStore;
  readonly scratch: string;
  readonly registry: EmbeddedRegistry;
  readonly receiver: Receiver;
  arrived = 0;

  private constructor(root: string, registry: EmbeddedRegistry) {
    this.root = root;
    this.scratch = join(root, 'scratch');
    this.store = new LayerStore(join(root, 'layers'));
    this.registry = registry;
    this.receiver = registry.receive({
      store: this.store,
      scratch: this.scratch,
      onBytes: (n) => {
        this.arrived += n;
      },
    });
  }

  static async open(): Promise<Bench> {
    const root = await mkdtemp(join(tmpdir(), 'receive-'));
    await mkdir(join(root, 'scratch'));
    return new Bench(root, await EmbeddedRegistry.start({ repository: 'claude-bottle', tag: 't1' }));
  }

  ask(path: string, question: Question = {}): Promise<Answer> {
    return ask(this.registry.host, path, { as: this.receiver.writer, ...question });
  }

  async begin(): Promise<string> {
    const { status, headers } = await this.ask(uploads, { method: 'POST' });
    assert.equal(status, 202);
    assert.match(headers.location ?? '', /^\/v2\/claude-bottle\/blobs\/uploads\/[0-9a-f-]{36}$/);
    return headers.location ?? '';
  }

  async push(bytes: Uint8Array): Promise<Digest> {
    const digest = sha256(bytes);
    const { status } = await this.ask(`${uploads}?digest=${digest}`, { method: 'POST', body: bytes });
    assert.equal(status, 201);
    return digest;
  }

  putManifest(manifest: object | string, reference = 't1', type = ociManifest): Promise<Answer> {
    const body = typeof manifest === 'string' ? manifest : JSON.stringify(manifest);
    return this.ask(`/v2/claude-bottle/manifests/${reference}`, {
      method: 'PUT',
      body,
      headers: { 'content-type': type },
    });
  }

  /** Pushes config and manifest of an image whose layers are there. */
  async putImage(options: {
    layers: readonly { digest: Digest; diffId: Digest }[];
    reference?: string;
    architecture?: string;
  }): Promise<{ digest: Digest; size: number; answer: Answer }> {
    const config = Buffer.from(
      JSON.stringify({
        os: 'linux',
        architecture: options.architecture ?? 'amd64',
        config: { Cmd: ['sh'], Env: null },
        rootfs: { type: 'layers', diff_ids: options.layers.map(({ diffId }) => diffId) },
      }),
    );
    await this.push(config);
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: sha256(config),
        size: config.length,
      },
      layers: options.layers.map(({ digest }) => ({ mediaType: 'x/y', digest, size: 1 })),
    });
    const digest = sha256(Buffer.from(manifest));
    const answer = await this.putManifest(manifest, options.reference ?? 't1');
    return { digest, size: manifest.length, answer };
  }

  async leftInScratch(): Promise<string[]> {
    return readdir(this.scratch);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry[Symbol.asyncDispose]();
    await rm(this.root, { recursive: true });
  }
}

/** A real tar with one file of random bytes. */
export async function tarOf(size: number): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'tar-'));
  try {
    await writeFile(join(directory, 'file'), randomBytes(size));
    const path = join(directory, 'layer.tar');
    const { code } = await run('tar', ['-C', directory, '-cf', path, 'file']);
    assert.equal(code, 0);
    return await readFile(path);
  } finally {
    await rm(directory, { recursive: true });
  }
}

export const tar = await tarOf(700_000);
export const diffId = sha256(tar);
export const gz = gzipSync(tar);
export const gzDigest = sha256(gz);

export function pieces(bytes: Buffer, count: number): Buffer[] {
  const size = Math.ceil(bytes.length / count);
  return Array.from({ length: count }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
}

/** Starts a request whose body is promised but never finished. */
export function hangUp(bench: Bench, method: string, path: string, body: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(`http://${bench.registry.host}${path}`, {
      method,
      agent: false,
      headers: { authorization: basic(bench.receiver.writer), 'content-length': body.length * 2 },
    });
    outgoing.on('error', () => resolve());
    outgoing.on('response', () => reject(new Error('answered an unfinished body')));
    outgoing.write(body);
    const seen = setInterval(() => {
      if (bench.arrived === 0) return;
      clearInterval(seen);
      outgoing.destroy();
    }, 5);
  });
}

export async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(5);
}
