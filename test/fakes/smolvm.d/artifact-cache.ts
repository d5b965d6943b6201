import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  createReadStream,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { finished } from 'node:stream/promises';
import { NotPartOfDouble } from './release.ts';
import { type Artifact, extractLayers } from './unpack.ts';

/*
 * What artifacts were unpacked into for as many machines as were made from them, and the machines' leases on it
 * (v1.9.0 to v1.9.3, src/artifact_cache.rs, crates/smolvm-pack/src/extract.rs).
 */

const pointerName = '.pack-shared';
const lockName = '.artifact-cache.lock';

export function sharedRoot(vms: string): string {
  return join(vms, '_shared');
}

/**
 * Unpacks an artifact, unless that is done already, and lays down the machine's lease on it, as one step for whoever prunes
 * (`materialize_shared_pack_lease`).
 * @returns the directories of its layers, the lowest first.
 */
export async function unpackShared(
  artifact: Artifact,
  vms: string,
  machine: string,
  squash: boolean,
): Promise<string[]> {
  await using _lock = await lockArtifacts(vms, 'shared');
  const shared = join(sharedRoot(vms), artifact.footer.checksum.toString(16).padStart(8, '0'));
  // smolvm unpacks once and lets the mount say whose the files are; here they are unpacked once for each.
  const layers = await extractLayers(
    artifact,
    join(shared, squash ? 'as-root' : 'as-packed'),
    squash,
  ).finally(() => removeIfEmpty(shared));
  await markUnpacked(artifact.path, shared);
  for (const directory of [sharedRoot(vms), shared]) chmodSync(directory, 0o700);
  lease(machine, shared);
  return layers;
}

function removeIfEmpty(directory: string): void {
  if (existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory);
}

/** A real flock on the cache: shared while a machine is made, exclusive to prune. It ends with this process. */
export async function lockArtifacts(vms: string, mode: 'shared' | 'exclusive'): Promise<AsyncDisposable> {
  mkdirSync(vms, { recursive: true });
  const path = join(vms, lockName);
  writeFileSync(path, '', { flag: 'a', mode: 0o600 });
  chmodSync(path, 0o600);
  const holder = spawn('flock', [`--${mode}`, path, 'sh', '-c', 'echo; cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const ended = once(holder, 'close').catch(() => undefined);
  const held = once(holder.stdout, 'data').then(() => true);
  if (!(await Promise.race([held, ended.then(() => false)])))
    throw new NotPartOfDouble('a host without flock');
  return {
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await ended;
    },
  };
}

/** Makes sure that the unpacked artifact is known by its SHA-256 (`ensure_shared_artifact_sha256`). */
async function markUnpacked(artifact: string, shared: string): Promise<void> {
  const source = JSON.stringify(identityOf(artifact));
  const [digestPath, sourcePath] = [digestOf(shared), `${shared}.artifact-source.json`];
  writeFileSync(`${digestPath}.lock`, '');
  if (existsSync(digestPath)) {
    const known = readDigest(shared);
    if (existsSync(sourcePath) && readFileSync(sourcePath, 'utf8') === source) return;
    if ((await sha256Of(artifact)) !== known) {
      throw new Error(`shared pack checksum collision at ${shared}: artifact SHA-256 differs`);
    }
  } else {
    writeAtomic(digestPath, `${await sha256Of(artifact)}\n`);
  }
  writeAtomic(sourcePath, source);
}

function identityOf(artifact: string): object {
  const { size, mtimeNs } = statSync(artifact, { bigint: true });
  return {
    canonical_path: realpathSync(artifact),
    len: Number(size),
    modified_secs: Number(mtimeNs / 1_000_000_000n),
    modified_nanos: Number(mtimeNs % 1_000_000_000n),
  };
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  const stream = createReadStream(path, { highWaterMark: 1 << 20 }).on('data', (chunk) => hash.update(chunk));
  await finished(stream);
  return hash.digest('hex');
}

function writeAtomic(path: string, text: string): void {
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, text);
  renameSync(temporary, path);
}

/** Lays down the machine's lease (`materialize_shared_pack_lease`). */
function lease(machine: string, shared: string): void {
  mkdirSync(join(machine, 'pack'), { recursive: true });
  const temporary = join(machine, `.${pointerName}.tmp-${process.pid}-0`);
  writeFileSync(temporary, `${shared}\n`, { mode: 0o600 });
  renameSync(temporary, join(machine, pointerName));
  const now = new Date();
  utimesSync(digestOf(shared), now, now);
}

function digestOf(shared: string): string {
  return `${shared}.artifact-sha256`;
}

export function readDigest(shared: string): string {
  const path = digestOf(shared);
  if (!lstatSync(path).isFile()) throw new Error(`artifact SHA marker is not a regular file: ${path}`);
  const digest = readFileSync(path, 'utf8').trim();
  if (!/^[0-9a-f]{64}$/.test(digest)) throw new Error(`invalid artifact SHA-256 marker: ${path}`);
  return digest;
}

/** The digests and directories that machines refer to. @throws when one of them is not sound. */
export function leasesIn(vms: string): Set<string> {
  const leased = new Set<string>();
  for (const entry of readdirSync(vms, { withFileTypes: true })) {
    if (!/^[0-9a-f]{16}$/.test(entry.name)) continue;
    const machine = join(vms, entry.name);
    if (!entry.isDirectory()) throw new Error(`VM cache entry is not a real directory: ${machine}`);
    const pointer = join(machine, pointerName);
    const info = lstatSync(pointer, { throwIfNoEntry: false });
    if (info === undefined) continue;
    if (!info.isFile()) throw new Error(`shared pack pointer is not a regular file: ${pointer}`);
    const target = readFileSync(pointer, 'utf8').trim();
    if (target === '') throw new Error(`empty shared pack pointer: ${pointer}`);
    const shared = canonicalShared(target, vms);
    leased.add(readDigest(shared)).add(shared);
  }
  return leased;
}

function canonicalShared(target: string, vms: string): string {
  if (!target.startsWith('/')) throw new Error(`shared pack pointer is not absolute: ${target}`);
  const root = sharedRoot(vms);
  if (!lstatSync(root).isDirectory()) throw new Error(`artifact cache root is not a real directory: ${root}`);
  if (!lstatSync(target).isDirectory()) {
    throw new Error(`shared pack target is not a real directory: ${target}`);
  }
  const shared = realpathSync(target);
  if (dirname(shared) !== realpathSync(root) || !isName(basename(shared))) {
    throw new Error(`shared pack pointer escapes the cache root: ${target}`);
  }
  return shared;
}

export function isName(name: string): boolean {
  return /^[0-9a-f]{8}$/.test(name);
}
