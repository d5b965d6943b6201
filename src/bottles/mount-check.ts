import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Mount } from '../backends/backend.ts';
import { MountRefused } from './errors.ts';
import type { Places } from './places.ts';

export interface MountSurroundings {
  readonly places: Places;
  readonly home: string;
  /** Other directories of ours: the cache, smolvm's machines. */
  readonly own: readonly string[];
  /** Where the engine answers, if that is a socket of this host. */
  readonly engineSocket: string | undefined;
  /** `$XDG_RUNTIME_DIR`, where engines of single users have their sockets. */
  readonly runtimeDirectory: string | undefined;
}

/** Where engines answer by default. Whoever may write to one is root here. */
const engineSockets = [
  '/run/docker.sock',
  '/var/run/docker.sock',
  '/run/containerd/containerd.sock',
  '/run/podman/podman.sock',
];

/**
 * Looks at what the user wants to show to a bottle. A path that holds, or lies in, what would hand over the bottle's own
 * fence is refused: an engine's socket, our records, sockets and caches, the user's definitions, the kernel's own file systems.
 * Read-only makes no difference: a socket that is mounted so can still be talked to.
 * @returns the mounts with what their paths lead to, so that what is shown is what is mounted.
 * @throws MountRefused
 */
export async function checkMounts(
  mounts: readonly Mount[],
  surroundings: MountSurroundings,
): Promise<readonly Mount[]> {
  if (mounts.length === 0) return mounts;
  const forbidden = await forbiddenPaths(surroundings);
  return await Promise.all(
    mounts.map(async (mount) => {
      const source = await realpath(mount.source).catch(() => {
        throw new MountRefused({ path: mount.source, reason: 'missing' });
      });
      for (const { path, reason } of forbidden) {
        if (holds(source, path) || holds(path, source)) {
          throw new MountRefused({ path: mount.source, reason, because: path });
        }
      }
      return { ...mount, source };
    }),
  );
}

/** What the user is told of every mount, whatever was asked. */
export function mountWarning({ source, readOnly }: Mount): string {
  return readOnly
    ? `${source} of this host can be read in the bottle, with all that is in it, and leave through the gate`
    : `${source} of this host is no copy: the agent can change and delete all of it, and nothing of that is reviewed`;
}

async function forbiddenPaths({
  places,
  home,
  own: others,
  engineSocket,
  runtimeDirectory,
}: MountSurroundings) {
  const engines = [
    ...engineSockets,
    ...(engineSocket === undefined ? [] : [resolve(engineSocket)]),
    ...(runtimeDirectory === undefined
      ? []
      : [join(runtimeDirectory, 'docker.sock'), join(runtimeDirectory, 'podman/podman.sock')]),
  ].map((path) => ({ path, reason: 'engine' as const }));
  const own = [places.state, places.run, join(home, '.claude-bottle'), ...others].map((path) => ({
    path,
    reason: 'own' as const,
  }));
  const kernel = ['/proc', '/sys'].map((path) => ({ path, reason: 'kernel' as const }));
  return await Promise.all(
    [...engines, ...own, ...kernel].map(async ({ path, reason }) => ({ path: await leadsTo(path), reason })),
  );
}

/** What a path leads to as far as it is there: the rest may come while the bottle runs. */
async function leadsTo(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const above = dirname(path);
    return above === path ? path : join(await leadsTo(above), basename(path));
  }
}

function holds(directory: string, path: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}
