import { lstat, mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StateUnusable } from './errors.ts';
import { isSlug } from './slug.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Where this user's bottles are on this host. */
export interface Places {
  /** Records and logs; survives a reboot. */
  readonly state: string;
  /** Sockets. Short, since the path of a socket has 107 bytes at most. */
  readonly run: string;
}

/** Where one bottle is on this host. */
export interface BottlePlaces {
  readonly directory: string;
  /** See record.ts. */
  readonly record: string;
  readonly gateLog: string;
  readonly supervisorLog: string;
  /** What the backend of a bottle that is a machine keeps of it. */
  readonly machine: string;
  /** What is being made or taken out; empty otherwise. */
  readonly scratch: string;
  /** For a folder that is no repository: the one that its work comes out to. Outlives the bottle. */
  readonly folderRepository: string;
  readonly run: string;
  /** For other commands of ours. */
  readonly supervisorSocket: string;
  /** What is mounted into the bottle. */
  readonly mounted: string;
  readonly gateSocket: string;
  readonly controlSocket: string;
  readonly variablesSocket: string;
}

/**
 * `$XDG_STATE_HOME/claude-bottle`, else `~/.local/state/claude-bottle`; the sockets in `$XDG_RUNTIME_DIR/claude-bottle`,
 * else beside the state.
 */
export function placesOf(environment: Environment, home: string): Places {
  const stateHome = absolute(environment['XDG_STATE_HOME']) ?? join(home, '.local/state');
  const state = join(stateHome, 'claude-bottle');
  const runtime = absolute(environment['XDG_RUNTIME_DIR']);
  return { state, run: runtime === undefined ? join(state, 'run') : join(runtime, 'claude-bottle') };
}

/** The specification wants absolute paths and has relative ones ignored (XDG Base Directory 0.8). */
function absolute(path: string | undefined): string | undefined {
  return path?.startsWith('/') === true ? path : undefined;
}

export function bottlePlaces(places: Places, slug: string): BottlePlaces {
  const directory = join(places.state, 'bottles', slug);
  const run = join(places.run, slug);
  const mounted = join(run, 'in');
  return {
    directory,
    record: join(directory, 'bottle.json'),
    gateLog: join(directory, 'gate.jsonl'),
    supervisorLog: join(directory, 'supervisor.log'),
    machine: join(directory, 'machine'),
    scratch: join(directory, 'scratch'),
    folderRepository: join(places.state, 'folders', `${slug}.git`),
    run,
    supervisorSocket: join(run, 'supervisor.sock'),
    mounted,
    gateSocket: join(mounted, 'gate.sock'),
    controlSocket: join(mounted, 'control.sock'),
    variablesSocket: join(mounted, 'variables.sock'),
  };
}

/** Makes the directories that all bottles share, for this user alone. @throws StateUnusable */
export async function openPlaces(places: Places): Promise<void> {
  for (const path of [join(places.state, 'bottles'), places.run]) {
    try {
      await makeDirectories(path);
    } catch (error) {
      throw new StateUnusable({ path, reason: (error as NodeJS.ErrnoException).code ?? 'unknown' });
    }
  }
  for (const path of [places.state, places.run]) {
    const { uid, mode } = await stat(path);
    // A link of somebody else's, in a directory such as /tmp, may lead to a place of ours now and to one of theirs later.
    const { uid: nameOwner } = await lstat(path);
    const mine = process.geteuid?.() ?? uid;
    // Whoever may write here could put records of theirs into it, which name programs and repositories of ours.
    if (uid !== mine || nameOwner !== mine || (mode & 0o022) !== 0) {
      throw new StateUnusable({ path, reason: 'not-yours' });
    }
  }
}

/** Node's own recursive way never ends where a file system says ENOENT to whoever makes something in it (/proc). */
async function makeDirectories(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && !(await isDirectory(dirname(path)))) {
      await makeDirectories(dirname(path));
      await mkdir(path, { mode: 0o700 }).catch(async (again: unknown) => {
        if (!(await isDirectory(path))) throw again;
      });
    } else if (!(await isDirectory(path))) throw error;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** The slugs that have a record, oldest first as far as names tell nothing: in no order. */
export async function knownSlugs(places: Places): Promise<string[]> {
  const names = await readdir(join(places.state, 'bottles')).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new StateUnusable({ path: places.state, reason: error.code ?? 'unknown' });
  });
  return names.filter(isSlug);
}
