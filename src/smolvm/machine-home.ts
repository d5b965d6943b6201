import { chmod, lstat, mkdir, realpath } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { MachineHomeUnusable } from './errors.ts';
import { linkInstalledFiles } from './installed-files.ts';
import { barrierOf, longestCacheRoot } from './place.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Where smolvm keeps the machines that are bottles: apart from the user's own, whose lists and defaults they would fill. */
export interface MachineHome {
  /** `undefined`: the user's own. */
  readonly path: string | undefined;
  /** Laid over our own environment for every call of smolvm. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** What `machineHome` will make of the surroundings; pure. */
export interface MachineHomePlace {
  readonly path: string | undefined;
  /** Where the machines' disks and sockets are: below `smolvm/vms` here. */
  readonly cache: string;
  /** How many bytes `cache` may have for the sockets below it to be reachable. */
  readonly limit: number;
  /** Whether smolvm runs the machines as another user, who has to be able to walk there. */
  readonly dropsUser: boolean;
}

/** A socket's path has 108 bytes on Linux and 104 on macOS (unix(4)), the last of them 0. */
const longestCacheRootDarwin = longestCacheRoot - 4;

/**
 * Where the machines' home is.
 *
 * `CLAUDE_BOTTLE_SMOLVM_HOME` decides: `user` is smolvm's own default for this user, a path the directory that shall
 * hold it. Without it: `claude-bottle` in the user's cache, if a socket's path has room below it, else
 * `/var/tmp/claude-bottle-<uid>`. Root's machines run as other users (v1.2.5, src/process.rs), who may not walk into a
 * home directory, so root's are always there. The state is in `smolvm` below that: smolvm makes what
 * `SMOLVM_DATA_DIR` names passable and readable for everybody (v1.9.3, src/process.rs `apply_system_data_root`), so it
 * is the directory above which keeps others out.
 *
 * macOS has no `SMOLVM_DATA_DIR`, and moving HOME would take smolvm's own files away from it: there it is the user's own.
 * @throws MachineHomeUnusable for a setting that is neither `user` nor an absolute path.
 */
export function placeOfMachines(
  env: Environment,
  homeDir: string,
  uid: number,
  platform: NodeJS.Platform = process.platform,
): MachineHomePlace {
  const limit = platform === 'linux' ? longestCacheRoot : longestCacheRootDarwin;
  const dropsUser = platform === 'linux' && uid === 0 && env.SMOLVM_VM_UID_DROP !== 'off';
  const asked = env.CLAUDE_BOTTLE_SMOLVM_HOME;
  if (platform !== 'linux') {
    return { path: undefined, cache: join(homeDir, 'Library', 'Caches'), limit, dropsUser };
  }
  const userCache = absolute(env.XDG_CACHE_HOME) ?? join(homeDir, '.cache');
  if (asked === 'user') {
    const moved = env.SMOLVM_DATA_DIR;
    const cache = moved === undefined || moved === '' ? userCache : join(moved, '.cache');
    return { path: undefined, cache, limit, dropsUser };
  }
  const below = (directory: string): MachineHomePlace => {
    const path = join(directory, 'smolvm');
    return { path, cache: join(path, '.cache'), limit, dropsUser };
  };
  if (asked !== undefined && asked !== '') {
    if (!isAbsolute(asked)) throw new MachineHomeUnusable({ path: asked, reason: 'relative' });
    return below(asked);
  }
  const cached = below(join(userCache, 'claude-bottle'));
  return uid !== 0 && fits(cached) ? cached : below(`/var/tmp/claude-bottle-${uid}`);
}

function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined;
}

function fits({ cache, limit }: MachineHomePlace): boolean {
  return Buffer.byteLength(cache) <= limit;
}

/**
 * The machines' home, made if it is missing, for this user alone. See `placeOfMachines` for where it is.
 * @param uid of this process (effective).
 * @throws MachineHomeUnusable when it cannot be used: what lies there is believed, and names disks that are booted.
 */
export async function machineHome(
  env: Environment,
  homeDir: string,
  uid: number,
  platform: NodeJS.Platform = process.platform,
): Promise<MachineHome> {
  const place = placeOfMachines(env, homeDir, uid, platform);
  const { path, cache, limit, dropsUser } = place;
  if (!fits(place)) throw new MachineHomeUnusable({ path: cache, reason: 'too-long', limit });
  // Neither is set for a machine without a network, and neither may ever matter to one (v1.9.3, src/network/launch.rs).
  const quiet = { SMOLVM_PUBLISH_ADDR: undefined, SMOLVM_GUEST_HOST_SERVICE: undefined };
  if (path === undefined) return { path, env: quiet };
  const guard = dirname(path);
  await makeOurs(guard, uid, dropsUser ? 0o711 : 0o700);
  await makeOurs(path, uid, dropsUser ? 0o711 : 0o700);
  const barrier = dropsUser ? await barrierOf(await realpath(path)) : undefined;
  if (barrier !== undefined) throw new MachineHomeUnusable({ path, reason: 'not-walkable', barrier });
  await linkInstalledFiles(path, { homeDir, dataHome: env.XDG_DATA_HOME }).catch(
    (error: NodeJS.ErrnoException) => {
      throw new MachineHomeUnusable({ path, reason: error.code ?? 'unknown' }, { cause: error });
    },
  );
  return { path, env: { ...quiet, SMOLVM_DATA_DIR: path } };
}

/** Makes a directory, and its parents, and refuses one that others own or may write to. */
async function makeOurs(path: string, uid: number, mode: number): Promise<void> {
  const found = await makeDirectory(path, mode).catch((error: NodeJS.ErrnoException) => {
    throw new MachineHomeUnusable({ path, reason: error.code ?? 'unknown' }, { cause: error });
  });
  if (!found.isDirectory()) throw new MachineHomeUnusable({ path, reason: 'not-a-directory' });
  if (found.uid !== uid || (found.mode & 0o022) !== 0) {
    throw new MachineHomeUnusable({ path, reason: 'not-yours' });
  }
  const missing = mode & ~found.mode & 0o777;
  if (missing !== 0) await chmod(path, found.mode | missing);
}

async function makeDirectory(path: string, mode: number) {
  // Not followed: a link of somebody else's leads to a place of ours now and to one of theirs later.
  const there = await lstat(path).catch(ifAbsent);
  if (there !== undefined) return there;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await mkdir(path, { mode }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  return await lstat(path);
}

function ifAbsent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
  return undefined;
}
