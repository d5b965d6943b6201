import { existsSync, lstatSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isName, leasesIn, lockArtifacts, readDigest, sharedRoot } from './artifact-cache.ts';
import type { Host } from './host.ts';
import { type Release, rustWords, SmolvmError } from './release.ts';
import { Store } from './store.ts';
import { optionOf, type Parsed } from './usage.ts';

const say = (line: string) => void process.stdout.write(`${line}\n`);

/** `pack prune` (src/cli/pack.rs `PackPruneCmd`). Before 1.9.0 it knows nothing of what machines are made from. */
export async function packPrune(release: Release, host: Host, parsed: Parsed): Promise<void> {
  const keep = parsed.values.has('all') ? 0 : Number(optionOf(parsed, 'keep') ?? 5);
  const dryRun = parsed.values.has('dry-run');
  const sizes: number[] = [];
  if (release.since('1.9.0')) sizes.push(...(await pruneShared(host, keep, dryRun)));
  for (const name of ['smolvm-pack', 'smolvm-libs']) {
    sizes.push(...pruneDirectory(join(host.cache(), name), keep, dryRun));
  }
  const freed = formatBytes(sizes.reduce((sum, size) => sum + size, 0));
  if (sizes.length === 0) say('No cached entries to remove.');
  else if (dryRun) say(`Would remove ${sizes.length} cached entries (${freed})`);
  else say(`Removed ${sizes.length} cached entries, freed ${freed}`);
}

async function pruneShared(host: Host, keep: number, dryRun: boolean): Promise<number[]> {
  const { vms } = new Store(host.cache());
  const { removed, referenced } = await pruneArtifacts(vms, keep, dryRun).catch((error: unknown) => {
    throw SmolvmError.agent('prune shared artifact caches', rustWords(error));
  });
  if (referenced > 0) {
    const noun = referenced === 1 ? 'entry' : 'entries';
    say(`  retaining ${referenced} artifact cache ${noun} referenced by machines`);
  }
  for (const { artifact, paths, bytes } of removed) {
    const did = dryRun ? 'would remove' : 'removed';
    say(`  ${did} artifact cache ${artifact}: ${paths.join(', ')} (${formatBytes(bytes)})`);
  }
  return removed.map(({ bytes }) => bytes);
}

interface PrunedArtifact {
  readonly artifact: string;
  readonly paths: readonly string[];
  readonly bytes: number;
}

interface Candidate {
  readonly artifact: string;
  readonly directories: string[];
  readonly files: string[];
  modified: number;
  bytes: number;
}

/**
 * Removes all but the `keep` most recently used of what no machine has a lease on (`prune_artifact_caches`). One lease that
 * is not sound, and nothing is removed.
 */
async function pruneArtifacts(
  vms: string,
  keep: number,
  dryRun: boolean,
): Promise<{ removed: PrunedArtifact[]; referenced: number }> {
  await using _lock = await lockArtifacts(vms, 'exclusive');
  const leased = leasesIn(vms);
  const all = [...candidatesIn(vms, leased).values()];
  const isLeased = ({ artifact, directories }: Candidate) =>
    leased.has(artifact) || directories.some((directory) => leased.has(directory));
  const removed = all
    .filter((one) => !isLeased(one))
    .sort((a, b) => b.modified - a.modified || (a.artifact < b.artifact ? -1 : 1))
    .slice(keep);
  for (const { directories, files } of dryRun ? [] : removed) {
    for (const path of [...directories, ...files]) rmSync(path, { recursive: true, force: true });
  }
  return {
    removed: removed.map(({ artifact, directories, bytes }) => ({ artifact, paths: directories, bytes })),
    referenced: all.filter(isLeased).length,
  };
}

function candidatesIn(vms: string, leased: ReadonlySet<string>): Map<string, Candidate> {
  const candidates = new Map<string, Candidate>();
  const root = sharedRoot(vms);
  if (!existsSync(root)) return candidates;
  for (const name of readdirSync(root).filter(isName)) {
    const path = join(root, name);
    if (!lstatSync(path).isDirectory()) {
      throw new Error(`shared cache candidate is not a real directory: ${path}`);
    }
    const shared = realpathSync(path);
    const artifact = identifierOf(shared, leased);
    const candidate = candidates.get(artifact) ?? {
      artifact,
      directories: [],
      files: [],
      modified: 0,
      bytes: 0,
    };
    candidates.set(artifact, candidate);
    const files = ['lock', 'artifact-sha256', 'artifact-sha256.lock', 'artifact-source.json'].map(
      (kind) => `${shared}.${kind}`,
    );
    candidate.directories.push(shared);
    candidate.files.push(...files);
    for (const each of [shared, ...files]) {
      candidate.bytes += allocated(each);
      const modified = lstatSync(each, { throwIfNoEntry: false })?.mtimeMs ?? 0;
      candidate.modified = Math.max(candidate.modified, modified);
    }
  }
  return candidates;
}

function identifierOf(shared: string, leased: ReadonlySet<string>): string {
  try {
    return readDigest(shared);
  } catch (error) {
    if (leased.has(shared)) throw error;
    return `shared:${basename(shared)}`;
  }
}

function allocated(path: string): number {
  const info = lstatSync(path, { throwIfNoEntry: false });
  if (info === undefined) return 0;
  const inside = info.isDirectory() ? readdirSync(path).map((name) => allocated(join(path, name))) : [];
  return info.blocks * 512 + inside.reduce((sum, bytes) => sum + bytes, 0);
}

/** All but the `keep` newest; on Linux nothing there is ever in use (crates/smolvm-pack `has_active_leases`). */
function pruneDirectory(base: string, keep: number, dryRun: boolean): number[] {
  if (!existsSync(base)) return [];
  const entries = readdirSync(base)
    .map((name) => join(base, name))
    .filter((path) => statSync(path).isDirectory())
    .map((path) => ({ path, modified: statSync(path).mtimeMs, size: sizeOf(path) }))
    .sort((a, b) => b.modified - a.modified)
    .slice(keep);
  for (const { path, size } of entries) {
    if (dryRun) {
      say(`  would remove: ${path} (${formatBytes(size)})`);
    } else {
      rmSync(path, { recursive: true });
      rmSync(`${path}.lock`, { force: true });
    }
  }
  return entries.map(({ size }) => size);
}

function sizeOf(directory: string): number {
  return readdirSync(directory)
    .map((name) => join(directory, name))
    .map((path) => ({ path, info: statSync(path, { throwIfNoEntry: false }) }))
    .reduce((sum, { path, info }) => sum + (info?.isDirectory() ? sizeOf(path) : (info?.size ?? 0)), 0);
}

/** src/cli/mod.rs `format_bytes`. */
function formatBytes(bytes: number): string {
  const [unit, size] = (
    [
      ['GB', 3],
      ['MB', 2],
      ['KB', 1],
    ] as const
  )
    .map(([name, power]) => [name, 1024 ** power] as const)
    .find(([, least]) => bytes >= least) ?? ['B', 1];
  return unit === 'B' ? `${bytes} B` : `${(bytes / size).toFixed(1)} ${unit}`;
}
