import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';

export const username = 'reader';
export const password = 'a-secret-of-the-test';
/** bcrypt of the password, the only form that the registry reads. */
const htpasswd = `${username}:$2b$04$tqpLMBvA2Gvqgmc4zrPyO.2ViN3dASNbWQ3DZXmyxxqRqu6k5a3jO\n`;

export type Compression = 'gzip' | 'zstd' | 'none';

/** A docker-registry process on a random loopback port that asks for a credential. */
export class TestRegistry implements AsyncDisposable {
  readonly host: string;
  readonly #stop: () => Promise<void>;

  private constructor(host: string, stop: () => Promise<void>) {
    this.host = host;
    this.#stop = stop;
  }

  static async start(): Promise<TestRegistry> {
    const directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-registry-'));
    const port = await freePort();
    await writeFile(join(directory, 'htpasswd'), htpasswd);
    await writeFile(
      join(directory, 'config.yml'),
      [
        'version: 0.1',
        'log: { level: error, accesslog: { disabled: true } }',
        `storage: { delete: { enabled: true }, filesystem: { rootdirectory: ${directory}/data } }`,
        `http: { addr: "127.0.0.1:${port}" }`,
        `auth: { htpasswd: { realm: test, path: ${directory}/htpasswd } }`,
      ].join('\n'),
    );
    const child = spawn('docker-registry', ['serve', join(directory, 'config.yml')], { stdio: 'ignore' });
    const registry = new TestRegistry(`127.0.0.1:${port}`, async () => {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      await rm(directory, { recursive: true, force: true });
    });
    while ((await registry.#request('GET', '/v2/').catch(() => undefined))?.status !== 200) await sleep(20);
    return registry;
  }

  get credential(): { host: string; username: string; password: string } {
    return { host: this.host, username, password };
  }

  /**
   * Pushes an image of the given layer tars and gives its reference. `breakLayer` makes the manifest name a layer that the
   * registry does not have.
   */
  async push(
    name: string,
    layers: readonly Buffer[],
    options: { compression?: Compression; config?: object; breakLayer?: boolean } = {},
  ): Promise<{ reference: string; configDigest: string; manifestDigest: string }> {
    const compression = options.compression ?? 'gzip';
    const config = Buffer.from(
      JSON.stringify({
        architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
        os: 'linux',
        config: options.config ?? {},
        rootfs: { type: 'layers', diff_ids: layers.map(sha256) },
      }),
    );
    const blobs = layers.map((layer) => compress(layer, compression));
    const suffix = { gzip: '+gzip', zstd: '+zstd', none: '' }[compression];
    for (const blob of [config, ...blobs]) await this.#pushBlob(name, blob);
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: sha256(config),
        size: config.length,
      },
      layers: blobs.map((blob) => ({
        mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}`,
        digest: sha256(blob),
        size: blob.length,
      })),
    });
    const put = await this.#request('PUT', `/v2/${name}/manifests/test`, Buffer.from(manifest), {
      'content-type': 'application/vnd.oci.image.manifest.v1+json',
    });
    if (put.status !== 201) throw new Error(`manifest: ${put.status} ${await put.text()}`);
    if (options.breakLayer) {
      for (const blob of blobs) await this.#forget(name, sha256(blob));
    }
    return {
      reference: `${this.host}/${name}:test`,
      configDigest: sha256(config),
      manifestDigest: sha256(Buffer.from(manifest)),
    };
  }

  async #pushBlob(name: string, blob: Buffer): Promise<void> {
    const started = await this.#request('POST', `/v2/${name}/blobs/uploads/`);
    const location = new URL(started.headers.get('location') ?? '');
    location.searchParams.set('digest', sha256(blob));
    const put = await this.#request('PUT', `${location.pathname}${location.search}`, blob, {
      'content-type': 'application/octet-stream',
    });
    if (put.status !== 201) throw new Error(`blob: ${put.status} ${await put.text()}`);
  }

  async #forget(name: string, digest: string): Promise<void> {
    await this.#request('DELETE', `/v2/${name}/blobs/${digest}`);
  }

  #request(
    method: string,
    path: string,
    body?: Buffer,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    return fetch(`http://${this.host}${path}`, {
      method,
      headers: { authorization, ...headers },
      ...(body === undefined ? {} : { body: new Uint8Array(body) }),
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stop();
  }
}

export function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function compress(layer: Buffer, compression: Compression): Buffer {
  if (compression === 'gzip') return gzipSync(layer, { level: 1 });
  return compression === 'zstd' ? zstdCompressSync(layer) : layer;
}

/** A layer's tar with these files; a name that ends in `/` is a directory. */
export async function layerOf(files: Readonly<Record<string, string | Buffer>>): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-layer-'));
  try {
    for (const [name, content] of Object.entries(files)) {
      const path = join(directory, name);
      await mkdir(name.endsWith('/') ? path : join(path, '..'), { recursive: true });
      if (!name.endsWith('/')) await writeFile(path, content);
    }
    const tar = spawn('tar', ['--sort=name', '--owner=0', '--group=0', '-cf', '-', '-C', directory, '.'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const chunks: Buffer[] = [];
    for await (const chunk of tar.stdout) chunks.push(chunk);
    return Buffer.concat(chunks);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
