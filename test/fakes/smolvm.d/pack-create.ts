import { createHash } from 'node:crypto';
import { createWriteStream, existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { zstdCompressSync } from 'node:zlib';
import { type Entry, embedLibraries, writeAssets, writeSidecar } from './format.ts';
import { Host, type Machine } from './host.ts';
import type { ImageInfo } from './machine.ts';
import { PullLine, Spinner } from './noise.ts';
import { NotPartOfDouble, type Release, rustWords, SmolvmError } from './release.ts';
import { optionOf, type Parsed } from './usage.ts';

const say = (text: string) => void process.stdout.write(text);

interface Staged {
  readonly entry: Entry;
  readonly digest?: string;
  readonly size: number;
}

/** `pack create --image` (src/cli/pack.rs). */
export async function packCreate(release: Release, parsed: Parsed): Promise<void> {
  for (const flag of ['from-vm', 'smolfile', 'single-file', 'lib-dir', 'rootfs-dir', 'rebase-from-image']) {
    if (parsed.values.has(flag)) throw new NotPartOfDouble(`"pack create --${flag}"`);
  }
  const output = optionOf(parsed, 'output') ?? '';
  if (release.since('1.7.0') && extname(output).toLowerCase() === '.smolmachine') throw stubName(output);
  const image = optionOf(parsed, 'image') ?? '';
  const host = new Host(release);

  const root = host.stagingRoot(optionOf(parsed, 'staging-dir'));
  const staging = await inWords('create temp directory', async () => {
    await mkdir(root, { recursive: true });
    return mkdtemp(join(root, release.since('1.2.0') ? 'pack-staging-' : '.tmp'));
  });
  try {
    const { info, layer } = await fetchLayer(release, host, parsed, image, staging);
    const manifest = manifestOf(release, parsed, image, info, layer, await standIns(staging));
    const entries = [join(staging, 'agent-rootfs.tar'), layer.entry.file, join(staging, 'storage.ext4')];
    const paths = ['agent-rootfs.tar', layer.entry.path, 'storage.ext4'];
    await assemble(
      release,
      parsed,
      output,
      manifest,
      paths.map((path, at) => ({ path, file: entries[at] ?? '' })),
    );
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

function stubName(output: string): SmolvmError {
  return new SmolvmError(
    'config operation failed: pack create: --output names the executable stub, not the .smolmachine sidecar ' +
      "(which is created automatically as '<output>.smolmachine'). " +
      `Use --output ${output.slice(0, -extname(output).length)} instead.`,
  );
}

async function fetchLayer(
  release: Release,
  host: Host,
  parsed: Parsed,
  image: string,
  staging: string,
): Promise<{ info: ImageInfo; layer: Staged }> {
  say('Starting agent VM...\n');
  await using machine = await host.startMachine();
  const info = await pull(host, machine, parsed, image);
  say(`Image: ${image} (${info.layers.length} layers, ${info.size} bytes)\n`);
  say('Collecting runtime libraries...\nCollecting agent rootfs...\nCreating storage template...\n');
  const [only] = info.layers;
  if (only === undefined) {
    process.stderr.write(
      "thread 'main' panicked at src/cli/pack.rs:\nindex out of bounds: the len is 0 but the index is 0\n",
    );
    process.exit(101);
  }
  const limit = exportLimit(release);
  if (info.layers.length === 1) {
    return { info, layer: await exportLayer(release, machine, only, only, staging, limit) };
  }
  say(`Merging ${info.layers.length} layers in VM (one-time cost)...\n`);
  await machine.ask({ op: 'merge', layers: info.layers });
  const merged = `sha256:${createHash('sha256').update(`merged-${info.digest}`).digest('hex')}`;
  return { info, layer: await exportLayer(release, machine, 'merged', merged, staging, limit) };
}

async function pull(host: Host, machine: Machine, parsed: Parsed, image: string): Promise<ImageInfo> {
  const registry = image.slice(0, Math.max(0, image.indexOf('/')));
  const auth = host.credentialFor(registry);
  const line = new PullLine(image);
  const loopback = /^(127\.|localhost[:/])/.test(image);
  const answer =
    loopback && !host.reachesLoopback
      ? ({
          kind: 'error',
          message: `crane manifest failed: Error: Get "http://${registry}/v2/": dial tcp ${registry}: connect: connection refused`,
        } as const)
      : await machine.ask(
          {
            op: 'pull',
            image,
            platform: optionOf(parsed, 'oci-platform') ?? guestPlatform(),
            proxy: host.proxy(optionOf(parsed, 'proxy'), optionOf(parsed, 'no-proxy')),
            ...(auth === undefined ? {} : { auth }),
          },
          (progress) => {
            if (progress.kind === 'progress') line.update(progress.done, progress.of, progress.layer);
          },
        );
  line.done();
  if (answer.kind !== 'image') {
    throw SmolvmError.agent(
      'pull image',
      answer.kind === 'error' ? answer.message : 'unexpected response type',
    );
  }
  return answer.image;
}

/** Bytes that may leave the guest: v1.3.3, v1.6.0 and v1.8.3 (src/cli/pack.rs `export_layer_to_file`). */
function exportLimit(release: Release): number {
  const gib = 1024 ** 3;
  if (release.since('1.8.3')) return 64 * gib;
  if (!release.since('1.3.3')) return Number.POSITIVE_INFINITY;
  const raised = release.since('1.6.0') ? Number(process.env.SMOLVM_FILE_TRANSFER_MAX_BYTES) : 0;
  return raised > 0 ? raised : 4 * gib;
}

async function exportLayer(
  release: Release,
  machine: Machine,
  layer: string,
  digest: string,
  staging: string,
  limit: number,
): Promise<Staged> {
  const single = layer !== 'merged';
  const prefix = single ? `  Layer 1/1: ${digest.slice(0, 19)}` : '  Exporting merged layer';
  say(`${prefix}...`);
  if (process.env.FAKE_SMOLVM_FAIL === 'timeout') {
    throw SmolvmError.agent('export layer', 'layer export timed out after 600s (received 0 bytes so far)');
  }
  const hex = digest.slice('sha256:'.length);
  const path = `layers/${release.since('1.3.4') ? hex : hex.slice(0, 12)}.tar`;
  const file = join(staging, 'layer.tar');
  let size = 0;
  let shownAt = Date.now();
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of machine.bytes({ op: 'export', layer })) {
      size += chunk.length;
      if (size > limit) {
        throw SmolvmError.agent(
          'export layer',
          `guest streamed ${size} bytes, exceeding the ${limit} byte cap`,
        );
      }
      if (single && Date.now() - shownAt >= 500) {
        say(`\r${prefix}... ${amount(size)}`);
        shownAt = Date.now();
      }
      yield chunk;
    }
  }
  await pipeline(Readable.from(counted(), { objectMode: false }), createWriteStream(file)).catch(
    (error: unknown) => {
      if (error instanceof SmolvmError) throw error;
      throw SmolvmError.agent('export layer', `write failed: ${rustWords(error)}`);
    },
  );
  say(single ? `\r${prefix}... ${amount(size)} done\n` : ` ${Math.floor(size / 1024 ** 2)} MB done\n`);
  return { entry: { path, file }, digest, size };
}

function amount(bytes: number): string {
  return bytes < 1024 ** 2 ? `${Math.floor(bytes / 1024)} KB` : `${Math.floor(bytes / 1024 ** 2)} MB`;
}

/** What stands in for the guest's system and for the formatted disk; neither is ever booted. */
async function standIns(staging: string): Promise<{ agentRootfs: number; storage: number }> {
  const [agentRootfs, storage] = [Buffer.alloc(10_240), Buffer.alloc(65_536)];
  storage.write('not a file system: made by the smolvm double\n');
  await writeFile(join(staging, 'agent-rootfs.tar'), agentRootfs);
  await writeFile(join(staging, 'storage.ext4'), storage);
  return { agentRootfs: agentRootfs.length, storage: storage.length };
}

function guestPlatform(): string {
  return `linux/${process.arch === 'arm64' ? 'arm64' : 'amd64'}`;
}

/** The manifest's keys, in smolvm's order (crates/smolvm-pack/src/format.rs `PackManifest`). */
function manifestOf(
  release: Release,
  parsed: Parsed,
  image: string,
  info: ImageInfo,
  layer: Staged,
  sizes: { agentRootfs: number; storage: number },
): object {
  const entrypoint = optionOf(parsed, 'entrypoint');
  const listed = (name: string, list: readonly string[]) => (list.length === 0 ? {} : { [name]: list });
  return {
    mode: 'container',
    image,
    digest: info.digest,
    platform: `${info.os}/${info.architecture}`,
    ...listed('entrypoint', entrypoint === undefined ? info.entrypoint : [entrypoint]),
    ...listed('cmd', info.cmd),
    ...listed('env', info.env),
    ...(info.workdir === undefined ? {} : { workdir: info.workdir }),
    cpus: Number(optionOf(parsed, 'cpus') ?? 4),
    mem: Number(optionOf(parsed, 'mem') ?? 8192),
    image_size: info.size,
    network: false,
    gpu: parsed.values.has('gpu'),
    ...(release.since('1.6.0') ? { cuda: false } : {}),
    host_platform: `${process.platform}/${process.arch === 'arm64' ? 'arm64' : 'amd64'}`,
    created: new Date().toISOString(),
    smolvm_version: release.version,
    assets: {
      libraries: [{ path: 'lib/libkrun.so', size: 0 }],
      agent_rootfs: { path: 'agent-rootfs.tar', size: sizes.agentRootfs },
      layers: [{ digest: layer.digest, path: layer.entry.path, size: layer.size }],
      storage_template: { path: 'storage.ext4', size: sizes.storage },
    },
  };
}

/** Writes the stub, then the sidecar, in place and over whatever is there (crates/smolvm-pack/src/packer.rs). */
async function assemble(
  release: Release,
  parsed: Parsed,
  output: string,
  manifest: object,
  entries: readonly Entry[],
): Promise<void> {
  const spinner = new Spinner('Assembling packed binary');
  const temporary = await mkdtemp(join(tmpdir(), '.tmp'));
  try {
    const { stubSize, sidecarSize, assetsSize } = await inWords(
      'pack binary',
      async () => {
        await copyFile(optionOf(parsed, 'stub') ?? stubSource(), output);
        await chmod(output, 0o755);
        const sidecar = `${output}.smolmachine`;
        await writeFile(sidecar, '');
        const assets = join(temporary, 'assets.tar.zst');
        await writeAssets(entries, assets);
        if (process.env.FAKE_SMOLVM_FAIL === 'no-space') {
          await copyFile(assets, sidecar);
          throw Object.assign(new Error(), { code: 'ENOSPC' });
        }
        const footer = await writeSidecar(sidecar, assets, manifest);
        return {
          stubSize: (await stat(output)).size,
          sidecarSize: (await stat(sidecar)).size,
          assetsSize: footer.assetsSize,
        };
      },
      'I/O error: ',
    );
    spinner.stop();
    const kib = (bytes: number) => Math.floor(bytes / 1024);
    say(`Packed: ${output} (stub: ${kib(stubSize)}KB, total: ${kib(stubSize + sidecarSize)}KB)\n`);
    say(`Assets: ${output}.smolmachine (${kib(assetsSize)}KB compressed)\n`);
    await embedLibraries(output, zstdCompressSync(`libraries of the smolvm double ${release.version}\n`));
    say(
      `\nRun with: ${output}\nNote: Keep the .smolmachine file alongside the binary\nOptions: --help for usage\n`,
    );
  } finally {
    spinner.stop();
    await rm(temporary, { recursive: true, force: true });
  }
}

/** A build output in the working directory is taken for smolvm itself (src/cli/pack.rs `find_smolvm_binary`). */
function stubSource(): string {
  const built = ['target/release/smolvm', 'target/debug/smolvm'].find((path) => existsSync(path));
  return built ?? process.env.FAKE_SMOLVM_EXECUTABLE ?? '';
}

async function inWords<T>(operation: string, work: () => Promise<T>, prefix = ''): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw SmolvmError.agent(operation, `${prefix}${rustWords(error)}`);
  }
}
