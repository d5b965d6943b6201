import { open, readdir } from 'node:fs/promises';
import { checksumOf, readFooter } from './format.ts';
import { NotPartOfDouble, type Release, SmolvmError } from './release.ts';
import { optionOf, type Parsed } from './usage.ts';

interface Manifest {
  readonly mode: string;
  readonly image: string;
  readonly digest: string;
  readonly platform: string;
  readonly cpus: number;
  readonly mem: number;
  readonly network?: boolean;
  readonly entrypoint?: readonly string[];
  readonly cmd?: readonly string[];
  readonly workdir?: string;
  readonly env?: readonly string[];
}

/** `pack run --info`: verifies footer and checksum and prints the manifest. Boots nothing (src/cli/pack_run.rs). */
export async function packRun(release: Release, parsed: Parsed): Promise<void> {
  if (!parsed.values.has('info')) throw new NotPartOfDouble('"pack run" without --info');
  const path = await sidecarPath(optionOf(parsed, 'sidecar'));
  await using file = await open(path, 'r').catch(() => {
    throw SmolvmError.agent('find sidecar', `sidecar file not found: ${path}\nSpecify with --sidecar PATH`);
  });
  const footer = await readFooter(file, release.since('1.7.2')).catch((error: Error) => {
    throw SmolvmError.agent('read footer', error.message);
  });
  const { assetsSize, manifestSize, checksum } = footer;
  if ((await checksumOf(path, assetsSize + manifestSize)) !== checksum) {
    throw SmolvmError.agent(
      'verify sidecar',
      `checksum mismatch for ${path}: sidecar may be corrupt or tampered with.\nTry re-packing the image with \`smolvm pack\`.`,
    );
  }
  const json = Buffer.alloc(manifestSize);
  await file.read(json, 0, manifestSize, assetsSize);
  print(parseManifest(json), checksum);
}

function parseManifest(json: Buffer): Manifest {
  try {
    return JSON.parse(json.toString('utf8')) as Manifest;
  } catch (error) {
    throw SmolvmError.agent('read manifest', `JSON error: ${(error as Error).message}`);
  }
}

async function sidecarPath(given: string | undefined): Promise<string> {
  if (given !== undefined) return given;
  const found = (await readdir('.')).filter((name) => name.endsWith('.smolmachine'));
  const [only] = found;
  if (only === undefined) {
    throw SmolvmError.agent(
      'find sidecar',
      'no .smolmachine sidecar file found.\nSpecify with: smolvm pack run --sidecar PATH',
    );
  }
  if (found.length > 1) {
    throw SmolvmError.agent(
      'find sidecar',
      'multiple .smolmachine files in current directory. Specify with --sidecar PATH',
    );
  }
  return only;
}

function print(manifest: Manifest, checksum: number): void {
  const lines = [
    `Mode:       ${manifest.mode}`,
    `Image:      ${manifest.image}`,
    `Digest:     ${manifest.digest}`,
    `Platform:   ${manifest.platform}`,
    `CPUs:       ${manifest.cpus}`,
    `Memory:     ${manifest.mem} MiB`,
  ];
  if (manifest.network) lines.push('Network:    enabled');
  if (manifest.entrypoint?.length) lines.push(`Entrypoint: ${manifest.entrypoint.join(' ')}`);
  if (manifest.cmd?.length) lines.push(`Cmd:        ${manifest.cmd.join(' ')}`);
  if (manifest.workdir !== undefined) lines.push(`Workdir:    ${manifest.workdir}`);
  if (manifest.env?.length) lines.push('Env:', ...manifest.env.map((each) => `  ${each}`));
  lines.push(`Checksum:   ${checksum.toString(16).padStart(8, '0')}`);
  process.stdout.write(`${lines.join('\n')}\n`);
}
