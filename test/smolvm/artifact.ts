import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { crc32, zstdDecompressSync } from 'node:zlib';

export interface Artifact {
  readonly crcHolds: boolean;
  readonly manifest: Record<string, unknown>;
  /** Names of the archive's entries, in order. */
  readonly entries: readonly string[];
  readonly layers: readonly { name: string; bytes: Buffer }[];
}

/** Takes a `.smolmachine` apart by its published layout, without any code of ours. @throws when it does not add up. */
export async function readArtifact(path: string): Promise<Artifact> {
  const bytes = await readFile(path);
  const footer = bytes.subarray(-64);
  const number = (at: number) => Number(footer.readBigUInt64LE(at));
  const [stub, offset, assets, manifestAt, manifestSize] = [12, 20, 28, 36, 44].map(number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const fits =
    stub === 0 && offset === 0 && manifestAt === assets && assets + manifestSize + 64 === bytes.length;
  if (footer.toString('latin1', 0, 8) !== 'SMOLPACK' || footer.readUInt32LE(8) !== 1 || !fits) {
    throw new Error('not an artifact');
  }
  const archive = zstdDecompressSync(bytes.subarray(0, assets));
  const names = (await list(archive)).map(({ name }) => name);
  return {
    crcHolds: crc32(bytes.subarray(0, assets + manifestSize)) === footer.readUInt32LE(52),
    manifest: JSON.parse(bytes.toString('utf8', assets, assets + manifestSize)) as Record<string, unknown>,
    entries: names,
    layers: await Promise.all(
      names
        .filter((name) => name.startsWith('layers/'))
        .map(async (name) => ({ name, bytes: await tar(['-xOf', '-', name], archive) })),
    ),
  };
}

/** The regular files of a tar with their contents, and its directories. */
export async function filesOf(archive: Buffer): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const { name, kind } of await list(archive)) {
    const key = name.replace(/^\.\//, '');
    if (kind === '-') files[key] = (await tar(['-xOf', '-', name], archive)).toString('utf8');
    else if (kind === 'd' && key !== '') files[key] = '';
  }
  return files;
}

async function list(archive: Buffer): Promise<{ kind: string; name: string }[]> {
  const text = (await tar(['-tvf', '-'], archive)).toString('utf8').trim();
  return text
    .split('\n')
    .map((line) => ({ kind: line[0] ?? '', name: line.split(/\s+/).slice(5).join(' ') }));
}

async function tar(args: readonly string[], input: Buffer): Promise<Buffer> {
  const child = spawn('tar', [...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk);
  return Buffer.concat(chunks);
}
