import { randomBytes } from 'node:crypto';
import { chmod, mkdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Scratch } from '../process/scratch.ts';
import { stopMachinesBelow } from './vm-processes.ts';

/**
 * The longest cache root, in bytes, below which smolvm's sockets still fit into a socket address: on Linux the path
 * of `smolvm/vms/<16 hex>/agent.sock` must stay below 108 bytes (unix(7); v1.9.3, src/agent/manager.rs `vm_data_dir`).
 */
export const longestCacheRoot = 66;

/** A place where smolvm's cache might live for the time of one pack. */
export interface Candidate {
  readonly path: string;
  /** Whether every directory above it can be walked through by other users. */
  readonly traversable: boolean;
}

/**
 * The first candidate that suits. smolvm needs a short path for its sockets and, when it runs the VM as another user, one
 * which that user can walk to. If none suits, the first: smolvm's own words about it are better than ours.
 */
export function choosePlace(
  candidates: readonly [Candidate, ...Candidate[]],
  needs: { readonly traversable: boolean },
): Candidate {
  const fits = (candidate: Candidate) =>
    Buffer.byteLength(candidate.path) <= longestCacheRoot && (candidate.traversable || !needs.traversable);
  return candidates.find(fits) ?? candidates[0];
}

/** A directory for smolvm's cache. Disposing stops the machines that still run from it and removes it. */
export interface WorkPlace extends AsyncDisposable {
  readonly path: string;
}

/**
 * Makes the directory in which one `pack create` keeps its VM: inside the scratch directory where that suits smolvm, else
 * below the system's temporary directories. It is journalled in any case, because the machines that run from it have to
 * be stopped before it goes (`stopMachinesBelow`), also by whoever cleans up after us.
 * @param walkable whether another user, as whom the VM will run, has to reach it.
 */
export async function openWorkPlace(scratch: Scratch, walkable: boolean): Promise<WorkPlace> {
  const name = `claude-bottle-${randomBytes(4).toString('hex')}`;
  const inside = scratch.file('vm');
  const place = choosePlace(
    [
      { path: inside, traversable: walkable && (await isWalkable(dirname(inside))) },
      ...(await Promise.all(
        ['/var/tmp', tmpdir()].map(async (parent) => ({
          path: join(parent, name),
          traversable: await isWalkable(parent),
        })),
      )),
    ],
    { traversable: walkable },
  );
  await scratch.expect({ kind: 'directory', path: place.path });
  // Passable for the user whom smolvm chooses, but not to be listed; smolvm's own directories below are 0700.
  await mkdir(place.path, { mode: 0o700 });
  if (walkable) await chmod(place.path, 0o711);
  return {
    path: place.path,
    async [Symbol.asyncDispose]() {
      await stopMachinesBelow(place.path);
      await rm(place.path, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

/** Whether other users can walk to `path` and through it. */
export async function isWalkable(path: string): Promise<boolean> {
  return (await barrierOf(path)) === undefined;
}

/** The directory, `path` or one above it, that other users cannot walk through: the nearest; `undefined`: none is. */
export async function barrierOf(path: string): Promise<string | undefined> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined || (info.mode & 0o001) === 0) return path;
  const parent = dirname(path);
  return parent === path ? undefined : barrierOf(parent);
}
