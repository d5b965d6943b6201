import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import * as v from 'valibot';
import { run } from '../../src/process/run.ts';
import { writeAssets, writeSidecar } from '../../test/fakes/smolvm.d/format.ts';
import { readToml } from '../../test/fakes/smolvm.d/toml.ts';
import { type ConsumerReport, consumerVariables } from './report.ts';

// `pack create --image REF -o OUT`: crane manifest, crane config, every blob unpacked by tar, several layers merged by
// `cp -a`, the result read out as one tar. It ends with a small but valid artifact, because what smolvm writes then
// (a compressed archive of the same tree) costs every way to get there the same.

const Manifest = v.object({
  config: v.object({ digest: v.string() }),
  layers: v.pipe(v.array(v.object({ mediaType: v.string(), digest: v.string() })), v.minLength(1)),
});
const Config = v.object({ os: v.string(), architecture: v.string() });

const { values } = parseArgs({
  args: process.argv.slice(4),
  options: { image: { type: 'string' }, output: { type: 'string', short: 'o' } },
});
const { image = '', output = '' } = values;
const root = process.env[consumerVariables.root] ?? '';
const crane = process.env[consumerVariables.crane] ?? 'crane';
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
const startedAt = performance.now();
const since = (from: number) => performance.now() - from;

const registry = image.slice(0, image.indexOf('/'));
const repository = image.slice(0, image.lastIndexOf(':'));
const home = await mkdtemp(join(root, 'home-'));
await writeFile(join(home, 'config.json'), JSON.stringify({ auths: authsOf(registry) }), { mode: 0o600 });

const manifest = v.parse(
  Manifest,
  JSON.parse(await shell('"$1" manifest "$2" --platform "$3"', crane, image, `linux/${architecture}`)),
);
const config = v.parse(
  Config,
  JSON.parse(await shell('"$1" config "$2" --platform "$3"', crane, image, `linux/${architecture}`)),
);

const directories: string[] = [];
for (const [at, { mediaType, digest }] of manifest.layers.entries()) {
  const directory = join(root, `layer-${at}`);
  await mkdir(directory);
  const decompress = mediaType.endsWith('gzip') ? '| gzip -dc' : '';
  await shell(
    `"$1" blob "$2" ${decompress} | tar -xp --numeric-owner -f - -C "$3"`,
    crane,
    `${repository}@${digest}`,
    directory,
  );
  directories.push(directory);
}
const pulledMs = since(startedAt);

const mergeFrom = performance.now();
const merged = join(root, 'merged');
let tree = directories[0] ?? merged;
if (directories.length > 1) {
  await mkdir(merged);
  for (const directory of directories) await shell('cp -a "$1"/. "$2"/ || true', directory, merged);
  tree = merged;
}
const mergedMs = since(mergeFrom);

const tarFrom = performance.now();
const bytes = Number(await shell('tar --numeric-owner -cf - -C "$1" . | wc -c', tree));
const report: ConsumerReport = {
  layers: manifest.layers.length,
  tree,
  tarBytes: bytes,
  pulledMs,
  mergedMs,
  readMs: since(tarFrom),
  totalMs: since(startedAt),
};
await writeFile(join(root, 'report.json'), JSON.stringify(report));
await writeArtifact();
await rm(home, { recursive: true });

function authsOf(host: string): object {
  const path = process.env.SMOLVM_CONFIG;
  const table = path === undefined ? undefined : readToml(path).get(`images.registries.${host}`);
  if (table === undefined) return {};
  const password = process.env[table.get('password_env') ?? ''] ?? '';
  return { [host]: { auth: Buffer.from(`${table.get('username')}:${password}`).toString('base64') } };
}

async function shell(script: string, ...args: string[]): Promise<string> {
  const env = { DOCKER_CONFIG: home, HOME: home };
  const result = await run('bash', ['-o', 'pipefail', '-c', script, 'bash', ...args], { env });
  if (result.code !== 0) throw new Error(`${script}: ${result.stderr.trim()}`);
  return result.stdout;
}

/** What follows the tree in the real one: the artifact. Here its layer is left out, all else is as the format wants it. */
async function writeArtifact(): Promise<void> {
  const layer = join(root, 'layer.tar');
  const assets = join(root, 'assets.tar.zst');
  await writeFile(layer, Buffer.alloc(1024));
  const path = `layers/${manifest.config.digest.slice('sha256:'.length)}.tar`;
  await writeAssets([{ path, file: layer }], assets);
  await writeFile(output, '');
  await writeSidecar(`${output}.smolmachine`, assets, {
    mode: 'container',
    image,
    digest: manifest.config.digest,
    platform: `${config.os}/${config.architecture}`,
    host_platform: `${process.platform}/${architecture}`,
    image_size: bytes,
    smolvm_version: '1.9.3',
    assets: { layers: [{ digest: manifest.config.digest, path, size: (await stat(layer)).size }] },
  });
}
