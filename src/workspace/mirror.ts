import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Git, userSettings } from './git.ts';
import type { Location } from './locate.ts';

/** A repository of our own making, and the directory it lies in. */
export interface OwnRepository {
  readonly gitDir: string;
}

/**
 * Makes an empty repository by hand: no template, no hook, and a configuration that only we wrote. Objects are
 * borrowed from `objects`, where it is given.
 */
export async function makeRepository(
  gitDir: string,
  options: {
    readonly objectFormat: 'sha1' | 'sha256';
    readonly bare: boolean;
    /** What HEAD holds: a commit, or `ref: refs/heads/...`. */
    readonly head: string;
    readonly objects?: string;
    readonly core?: readonly string[];
    readonly sections?: readonly string[];
  },
): Promise<OwnRepository> {
  for (const name of ['objects/info', 'objects/pack', 'refs/heads', 'refs/tags', 'info']) {
    await mkdir(join(gitDir, name), { recursive: true });
  }
  await writeFile(join(gitDir, 'HEAD'), `${options.head}\n`);
  const sha256 = options.objectFormat === 'sha256';
  const config = [
    '[core]',
    `\trepositoryformatversion = ${sha256 ? 1 : 0}`,
    '\tfilemode = true',
    `\tbare = ${options.bare}`,
    ...(options.core ?? []).map((line) => `\t${line}`),
    ...(sha256 ? ['[extensions]', '\tobjectformat = sha256'] : []),
    ...(options.sections ?? []),
  ];
  await writeFile(join(gitDir, 'config'), `${config.join('\n')}\n`);
  if (options.objects !== undefined) {
    // Quoted as C does, or a line feed, a # or a quote in the path would mean something (git's object-file.c).
    const quoted = options.objects.replace(/["\\]/g, '\\$&').replace(/\n/g, '\\n');
    await writeFile(join(gitDir, 'objects/info/alternates'), `"${quoted}"\n`);
  }
  return { gitDir };
}

/**
 * A repository of ours that shows the same state as the user's: its HEAD, its index, its objects, what it ignores. Nothing
 * of its configuration comes along, so git may look at the working tree through it and nothing configured runs. Filters are not
 * run either: a file that one would convert counts as changed only where its time or size says so.
 * @param directory must not exist yet.
 */
export async function mirror(
  location: Location,
  head: string,
  directory: string,
  sparse: boolean,
  signal?: AbortSignal,
): Promise<OwnRepository> {
  const made = await makeRepository(directory, {
    objectFormat: location.objectFormat,
    bare: false,
    head,
    objects: join(location.commonDir, 'objects'),
    core: sparse ? ['sparseCheckout = true'] : [],
  });
  await writeFile(join(directory, 'info/exclude'), await excludes(location, signal));
  await copyIfThere(join(location.gitDir, 'index'), join(directory, 'index'));
  for (const name of await readdir(location.gitDir)) {
    if (name.startsWith('sharedindex.'))
      await copyIfThere(join(location.gitDir, name), join(directory, name));
  }
  if (location.shallow) await copyIfThere(join(location.commonDir, 'shallow'), join(directory, 'shallow'));
  return made;
}

/**
 * What is ignored beside the `.gitignore` files, as one list: the user's own file, then the repository's. A later line wins
 * (gitignore(5)), and the order is git's.
 */
export async function excludes(location: Location | undefined, signal?: AbortSignal): Promise<string> {
  const parts: string[] = [await readIfThere(await userExcludes(signal))];
  if (location !== undefined) {
    const git = new Git({ gitDir: location.gitDir }, signal);
    const asked = await git.try(['config', '--local', '--type=path', '--get', 'core.excludesFile'], {
      env: { HOME: homedir() },
    });
    const named = asked.stdout.toString('utf8').trim();
    if (asked.code === 0 && named.startsWith('/')) parts.push(await readIfThere(named));
    parts.push(await readIfThere(join(location.commonDir, 'info/exclude')));
  }
  return parts.map((part) => (part === '' || part.endsWith('\n') ? part : `${part}\n`)).join('');
}

/** The user's own list, as git finds it (gitignore(5)); from configuration that no repository can write. */
async function userExcludes(signal?: AbortSignal): Promise<string> {
  const named = (await userSettings('core.excludesFile', 'path', signal)).at(-1);
  if (named !== undefined && named !== '') return named;
  const xdg = process.env['XDG_CONFIG_HOME'];
  return join(xdg === undefined || xdg === '' ? join(homedir(), '.config') : xdg, 'git/ignore');
}

async function readIfThere(path: string): Promise<string> {
  return path === '' ? '' : await readFile(path, 'utf8').catch(() => '');
}

async function copyIfThere(from: string, to: string): Promise<void> {
  await copyFile(from, to).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}
