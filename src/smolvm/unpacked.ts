import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { MachineHomePlace } from './machine-home.ts';

/** What smolvm has unpacked below one home, for as many machines as were made from it. */
export interface UnpackedArtifacts {
  readonly directory: string;
  readonly count: number;
}

/**
 * The artifacts that smolvm has unpacked in a home of our own, used or not: a directory each, named by the artifact's CRC-32,
 * which outlives its machines (v1.9.3, crates/smolvm-pack/src/extract.rs `shared_pack_dir`, src/agent/manager.rs
 * `shared_pack_cache_root`). Looks, and makes nothing.
 * @returns `undefined` where there are none, and for the user's own home, which is not ours to judge.
 */
export async function unpackedArtifacts({
  path,
  cache,
}: MachineHomePlace): Promise<UnpackedArtifacts | undefined> {
  if (path === undefined) return undefined;
  const directory = join(cache, 'smolvm', 'vms', '_shared');
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return [];
  });
  const count = names.filter((name) => /^[0-9a-f]{8}$/.test(name)).length;
  return count === 0 ? undefined : { directory, count };
}
