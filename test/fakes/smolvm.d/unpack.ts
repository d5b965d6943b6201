import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { createZstdDecompress } from 'node:zlib';
import { type Footer, readFooter } from './format.ts';
import { type Release, SmolvmError } from './release.ts';

/** The manifest's keys that a machine is made from. */
export interface PackedManifest {
  readonly mode: string;
  readonly image: string;
  readonly platform: string;
  readonly cpus: number;
  readonly mem: number;
  readonly network?: boolean;
  readonly entrypoint?: readonly string[];
  readonly cmd?: readonly string[];
  readonly env?: readonly string[];
  readonly workdir?: string;
  readonly assets: { readonly layers: readonly { readonly path: string }[] };
}

export interface Artifact {
  readonly path: string;
  readonly footer: Footer;
  readonly manifest: PackedManifest;
}

/** Reads footer and manifest. Nothing is checked against the checksum: smolvm does not either (src/cli/machine.rs). */
export async function readArtifactHead(release: Release, path: string): Promise<Artifact> {
  await using file = await open(path, 'r').catch(() => {
    throw new SmolvmError(`config operation failed: create from .smolmachine: file not found: ${path}`);
  });
  try {
    const footer = await readFooter(file, release.since('1.7.2'));
    const json = Buffer.alloc(footer.manifestSize);
    await file.read(json, 0, json.length, footer.assetsSize);
    return { path, footer, manifest: JSON.parse(json.toString('utf8')) as PackedManifest };
  } catch (error) {
    throw SmolvmError.agent('read .smolmachine', (error as Error).message);
  }
}

/**
 * Unpacks the layers of an artifact below `target`, unless that is done already, and gives their directories, the lowest
 * first. `squash` makes everything root's.
 */
export async function extractLayers(artifact: Artifact, target: string, squash: boolean): Promise<string[]> {
  const layers = artifact.manifest.assets.layers.map(({ path }) => join(target, path.replace(/\.tar$/, '')));
  if (existsSync(join(target, '.smolvm-extracted'))) return layers;

  const temporary = `${target}.${process.pid}`;
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { recursive: true });
  try {
    await extract(artifact, temporary, squash);
    writeFileSync(join(temporary, '.smolvm-extracted'), '');
    try {
      renameSync(temporary, target);
    } catch (error) {
      if (!existsSync(join(target, '.smolvm-extracted'))) throw error;
    }
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return layers;
}

async function extract(artifact: Artifact, directory: string, squash: boolean): Promise<void> {
  const wanted = new Set(artifact.manifest.assets.layers.map(({ path }) => path));
  const end = Math.max(0, artifact.footer.assetsSize - 1);
  const compressed = createReadStream(artifact.path, { end, highWaterMark: 1 << 20 });
  const plain = createZstdDecompress({ chunkSize: 1 << 20 });
  compressed.on('error', (error) => plain.destroy(error));
  const bytes = new Bytes(compressed.pipe(plain));
  try {
    for (;;) {
      const header = await bytes.take(512);
      if (header.every((byte) => byte === 0)) break;
      const path = textOf(header, 0, 100);
      const size = sizeOf(header);
      if (process.env.FAKE_SMOLVM_FAIL === 'no-space' && wanted.has(path)) {
        throw new Error('I/O error: No space left on device (os error 28)');
      }
      if (wanted.delete(path)) {
        await unpackLayer(bytes.through(size), join(directory, path.replace(/\.tar$/, '')), squash);
      } else {
        await bytes.skip(size);
      }
      await bytes.take((512 - (size % 512)) % 512);
    }
  } finally {
    compressed.destroy();
    plain.destroy();
  }
  const [missing] = wanted;
  if (missing !== undefined) throw new Error(`I/O error: ${missing} is missing from the assets`);
}

async function unpackLayer(tar: AsyncIterable<Buffer>, directory: string, squash: boolean): Promise<void> {
  await mkdir(directory, { recursive: true });
  const owner = squash ? '--no-same-owner' : '--same-owner';
  const child = spawn('tar', ['-xpf', '-', '--numeric-owner', owner, '-C', directory], {
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (words.length < 4096) words += text;
  });
  child.stdin.on('error', () => undefined);
  const closed = once(child, 'close');
  try {
    for await (const chunk of tar) {
      if (!child.stdin.writable) continue;
      if (!child.stdin.write(chunk)) await Promise.race([once(child.stdin, 'drain'), closed]);
    }
  } finally {
    child.stdin.end();
    await closed;
  }
  if (child.exitCode !== 0) throw new Error(`I/O error: ${words.trim()}`);
  // Devices and pipes are not unpacked on the host (crates/smolvm-pack/src/extract.rs); host's safety, too.
  const find = [
    directory,
    '-xdev',
    '(',
    '-type',
    'b',
    '-o',
    '-type',
    'c',
    '-o',
    '-type',
    'p',
    ')',
    '-delete',
  ];
  const deleted = spawn('find', find, { stdio: 'ignore' });
  await once(deleted, 'close');
}

/** A stream, read by counts of bytes. */
class Bytes {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: AsyncIterable<Buffer>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async take(count: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const chunk of this.through(count)) parts.push(chunk);
    return Buffer.concat(parts);
  }

  async skip(count: number): Promise<void> {
    const bytes = this.through(count);
    while ((await bytes.next()).done !== true);
  }

  async *through(count: number): AsyncGenerator<Buffer> {
    for (let left = count; left > 0;) {
      if (this.#rest.length === 0) {
        const next = await this.#chunks.next();
        if (next.done === true) throw new Error('I/O error: unexpected end of file');
        this.#rest = next.value;
      }
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }
}

function textOf(header: Buffer, start: number, length: number): string {
  return (header.toString('utf8', start, start + length).split('\0')[0] ?? '').trim();
}

function sizeOf(header: Buffer): number {
  const isBinary = ((header[124] ?? 0) & 0x80) !== 0;
  return isBinary ? Number(header.readBigUInt64BE(128)) : Number.parseInt(textOf(header, 124, 12), 8);
}
