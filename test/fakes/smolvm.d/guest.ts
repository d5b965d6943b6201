import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import type { ImageInfo } from './machine.ts';
import { openImage } from './oci-client.ts';
import type { Release } from './release.ts';

export interface PullRequest {
  readonly image: string;
  /** `os/arch`. */
  readonly platform: string;
  readonly auth?: { readonly username: string; readonly password: string };
  /** Variables for the OCI client's proxy. */
  readonly proxy: Readonly<Record<string, string>>;
}

/** The pipe between the OCI client and the extraction holds this much; more than it, and a dead reader kills the writer. */
const pipeBytes = 65_536;

/** What goes on in the guest (crates/smolvm-agent/src/storage.rs), on a directory instead of a disk. */
export class Guest {
  readonly #disk: string;
  readonly #release: Release;

  constructor(disk: string, release: Release) {
    this.#disk = disk;
    this.#release = release;
  }

  async pull(
    request: PullRequest,
    progress: (done: number, of: number, layer: string) => Promise<void>,
  ): Promise<ImageInfo> {
    checkReference(request.image);
    await progress(0, 0, 'fetching manifest');
    await using image = await openImage(request, join(this.#disk, 'client'));
    const manifest = JSON.parse(await image.manifest()) as {
      config?: { digest: string };
      layers: { digest: string }[];
    };
    if (manifest.config === undefined) {
      throw new Error(
        'got manifest list instead of image manifest - platform may not be available. manifests: None',
      );
    }
    const config = JSON.parse(await image.config()) as Record<string, unknown>;
    const layers = manifest.layers.map(({ digest }) => digest);
    let size = 0;
    for (const [at, digest] of layers.entries()) {
      const directory = this.#layer(digest);
      if (await isDirectory(directory)) {
        await progress(at + 1, layers.length, digest);
        continue;
      }
      await mkdir(directory, { recursive: true });
      try {
        this.#refuse(request, digest);
        await this.#extract(digest, await image.blob(digest), directory);
      } catch (error) {
        await rm(directory, { recursive: true, force: true });
        throw error;
      }
      size += await bytesBelow(directory);
      await progress(at + 1, layers.length, digest.slice('sha256:'.length));
    }
    await progress(layers.length, layers.length, 'syncing');
    return { ...infoOf(config), digest: manifest.config.digest, layers, size };
  }

  /** `cp -a` of one layer over the other, bottom first, errors ignored: whiteouts do nothing (src/cli/pack.rs). */
  async merge(layers: readonly string[]): Promise<void> {
    const merged = join(this.#disk, 'merged');
    await mkdir(merged);
    for (const digest of layers) {
      const copy = spawn('cp', ['-a', `${this.#layer(digest)}/.`, `${merged}/`], { stdio: 'ignore' });
      await once(copy, 'close');
    }
  }

  /** Writes the tar of a layer's directory, or of `merged`. */
  async export(layer: string, to: Writable): Promise<void> {
    const directory = layer === 'merged' ? join(this.#disk, 'merged') : this.#layer(layer);
    const tar = spawn('tar', ['--numeric-owner', '-cf', '-', '-C', directory, '.'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await pipeline(tar.stdout, to, { end: false });
  }

  #layer(digest: string): string {
    return join(this.#disk, 'layers', digest.replace('sha256:', ''));
  }

  #refuse({ image }: PullRequest, digest: string): void {
    const pinnedTwice = image.includes('@') && !this.#release.since('1.1.0');
    if (pinnedTwice) throw new Error(`crane blob failed for layer ${digest}`);
    if (process.env.FAKE_SMOLVM_FAIL !== 'blob') return;
    // crane's own words reach the user since v1.4.2.
    const words = this.#release.since('1.4.2') ? ': Error: unexpected EOF' : '';
    throw new Error(`crane blob failed for layer ${digest}${words}`);
  }

  async #extract(digest: string, blob: Blob, directory: string): Promise<void> {
    const { plain, failure } = await this.#plain(digest, blob);
    if (failure !== undefined || plain === undefined) throw new Error(failure);
    const owner = process.geteuid?.() === 0 ? ['--same-owner'] : ['--no-same-owner'];
    const tar = spawn('tar', ['-xpf', '-', '--numeric-owner', ...owner, '-C', directory], {
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    let words = '';
    tar.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (words.length < 4096) words += text;
    });
    const closed = once(tar, 'close');
    const fed = await pipeline(plain, tar.stdin).then(
      () => undefined,
      // tar may be gone with the end of the archive, before the end of its input has been acknowledged.
      (error: NodeJS.ErrnoException) => (isClosedPipe(error) ? undefined : error),
    );
    const [code] = (await closed) as [number | null];
    const fetched = await blob.done;
    const verb = this.#release.since('1.1.0') ? 'layer' : 'tar';
    if (fetched !== undefined) throw new Error(this.#fetchFailure(digest, fetched));
    if (fed !== undefined || code !== 0) {
      throw new Error(`${verb} extraction failed for layer ${digest}: ${words === '' ? String(fed) : words}`);
    }
    if (this.#release.since('1.1.0')) await dropWhiteouts(directory);
  }

  #fetchFailure(digest: string, words: string): string {
    const shown = this.#release.since('1.4.2') && words !== '';
    return `crane blob failed for layer ${digest}${shown ? `: ${words}` : ''}`;
  }

  /** The layer's tar, or how the release fails on a compression that it does not know. */
  async #plain(digest: string, blob: Blob): Promise<{ plain?: Readable; failure?: string }> {
    const head = await firstBytes(blob.stream);
    const gzip = head[0] === 0x1f && head[1] === 0x8b;
    if (gzip) return { plain: decompressed(blob.stream, createGunzip()) };
    if (!this.#release.since('1.5.0')) {
      // busybox tar gives up at once; a layer that fills the pipe then kills crane, which is looked at first.
      const words = blob.size > pipeBytes ? '' : 'tar: invalid magic\ntar: short read\n';
      blob.stream.destroy();
      return words === ''
        ? { failure: `crane blob failed for layer ${digest}` }
        : { failure: `tar extraction failed for layer ${digest}: ${words}` };
    }
    const zstd = head.length >= 4 && head.readUInt32LE(0) === 0xfd2fb528;
    return { plain: zstd ? decompressed(blob.stream, createZstdDecompress()) : blob.stream };
  }
}

/** A layer as it comes from the registry. */
export interface Blob {
  readonly stream: Readable;
  /** Bytes as stored in the registry. */
  readonly size: number;
  /** Settles when the client is done: with its words if it failed. */
  readonly done: Promise<string | undefined>;
}

function isClosedPipe({ code }: NodeJS.ErrnoException): boolean {
  return code === 'EPIPE' || code === 'ERR_STREAM_PREMATURE_CLOSE';
}

function decompressed(from: Readable, through: NodeJS.ReadWriteStream & Readable): Readable {
  from.on('error', (error) => through.destroy(error));
  from.pipe(through);
  return through;
}

async function firstBytes(stream: Readable): Promise<Buffer> {
  for (;;) {
    const chunk: Buffer | null = stream.read();
    if (chunk !== null) {
      stream.unshift(chunk);
      return chunk;
    }
    if (stream.readableEnded || stream.destroyed) return Buffer.alloc(0);
    await Promise.race([once(stream, 'readable'), once(stream, 'end'), once(stream, 'close')]);
  }
}

/** The charset rule of the agent (crates/smolvm-agent/src/oci.rs `validate_image_reference`). */
function checkReference(image: string): void {
  const bytes = Buffer.byteLength(image);
  if (bytes > 512)
    throw new Error(`invalid image reference: image reference too long: ${bytes} bytes (max: 512)`);
  if (image.includes('..') && image.includes('/')) {
    throw new Error('invalid image reference: image reference contains suspicious path traversal');
  }
  if (!/^[A-Za-z0-9._/:@-]*$/.test(image)) {
    throw new Error('invalid image reference: image reference contains invalid characters');
  }
  if (!/^[A-Za-z0-9]/.test(image)) {
    throw new Error('invalid image reference: image reference must start with alphanumeric character');
  }
  if (!/[A-Za-z0-9]$/.test(image)) {
    throw new Error('invalid image reference: image reference must end with alphanumeric character');
  }
}

/**
 * Since v1.1.0 a whiteout becomes overlayfs' own mark, a device node, which busybox `cp -a` cannot lay over an existing
 * file: merged, it has no effect. Without it the result is the same, and no right to make device nodes is needed.
 */
async function dropWhiteouts(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.name.startsWith('.wh.')) await rm(path, { recursive: true, force: true });
    else if (entry.isDirectory()) {
      await chmod(path, (await stat(path)).mode | 0o700);
      await dropWhiteouts(path);
    }
  }
}

async function bytesBelow(directory: string): Promise<number> {
  const du = spawn('du', ['-sb', directory], { stdio: ['ignore', 'pipe', 'ignore'] });
  let text = '';
  du.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(du, 'close');
  return Number.parseInt(text, 10) || 0;
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}

function infoOf(config: Record<string, unknown>): Omit<ImageInfo, 'digest' | 'layers' | 'size'> {
  const inner = (config.config ?? {}) as Record<string, unknown>;
  const strings = (value: unknown) =>
    Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
  const workdir = inner.WorkingDir;
  return {
    architecture: typeof config.architecture === 'string' ? config.architecture : 'unknown',
    os: typeof config.os === 'string' ? config.os : 'linux',
    entrypoint: strings(inner.Entrypoint),
    cmd: strings(inner.Cmd),
    env: strings(inner.Env),
    ...(typeof workdir === 'string' && workdir !== '' ? { workdir } : {}),
  };
}
