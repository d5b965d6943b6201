import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unpackTar, type UnpackLimits } from '../tar/unpack.ts';
import { identityVariables } from './folder.ts';
import { failed } from './git.ts';
import type { Place } from './place.ts';
import { printablePath } from './printable.ts';
import type { Quarantine } from './quarantine.ts';
import { readTree, type TreeEntry } from './tree.ts';
import type { Identity } from './workspace.ts';

interface FromFiles {
  /** The commit on top of the base; `undefined` when the files are as the base has them. */
  readonly tip: string | undefined;
  /** What is no file, directory or link, and could not come along; printable. */
  readonly leftOut: readonly string[];
}

/**
 * Makes one commit of the files in a place, for when there is no git inside that could tell more. What git keeps of a
 * repository is dropped; files count as new only if neither the base's `.gitignore` files nor those inside ignore them.
 * @param excludes further lines of what is ignored.
 */
export async function commitFiles(
  place: Place,
  quarantine: Quarantine,
  options: {
    readonly directory: string;
    readonly scratch: string;
    readonly message: string;
    readonly excludes: string;
    readonly limits?: UnpackLimits;
    readonly identity?: Identity;
    readonly signal?: AbortSignal;
  },
): Promise<FromFiles> {
  const tree = join(options.scratch, 'files');
  await mkdir(tree);
  const unpacked = await unpack(place, tree, options);
  const index = join(options.scratch, 'files-index');
  const git = quarantine.git({ workTree: tree, index });
  await git.text(['read-tree', quarantine.base]);
  const news = await untracked(quarantine, tree, index, options);
  await git.text(['add', '--update']);
  await git.text(['update-index', '--add', '-z', '--stdin'], { input: lines(news.paths) });
  const made = await git.text(['write-tree']);
  const leftOut = [...unpacked.leftOut, ...news.inSubmodules].map(printablePath);
  if (made === (await git.text(['rev-parse', `${quarantine.base}^{tree}`])))
    return { tip: undefined, leftOut };
  const args = ['commit-tree', '-p', quarantine.base, '-m', options.message, made];
  return { tip: await git.text(args, { env: identityVariables(options.identity) }), leftOut };
}

async function unpack(
  place: Place,
  tree: string,
  options: { readonly directory: string; readonly limits?: UnpackLimits; readonly signal?: AbortSignal },
) {
  await using sent = await place.copyOut(options.directory, options.signal);
  return await unpackTar(sent.stdout, tree, {
    strip: 1,
    symlinks: 'any',
    // Any spelling that some file system takes for `.git`, at any depth.
    skip: (path) => path.split('/').some((part) => part.toLowerCase() === '.git'),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}

interface News {
  readonly paths: readonly string[];
  /** Files in what the base has a submodule for: they belong to another repository. */
  readonly inSubmodules: readonly string[];
}

/** Paths that the base does not have, and that neither its `.gitignore` files nor those inside ignore. */
async function untracked(
  quarantine: Quarantine,
  tree: string,
  index: string,
  { scratch, excludes }: { readonly scratch: string; readonly excludes: string },
): Promise<News> {
  await writeFile(join(quarantine.gitDir, 'info/exclude'), excludes);
  const git = quarantine.git({ workTree: tree, index });
  const found = await git.bytes(['ls-files', '--others', '--exclude-standard', '-z']);
  const base = await readTree(quarantine.git(), quarantine.base);
  const submodules = new Set(base.filter(({ kind }) => kind === 'submodule').map(({ path }) => path));
  const files = found.split('\0').filter((path) => path !== '' && !path.endsWith('/'));
  const others = files.filter((path) => !isBelow(path, submodules));
  const ignored = await ignoredByBase(quarantine, index, join(scratch, 'ignores'), base, others);
  return {
    paths: others.filter((path) => !ignored.has(path)),
    inSubmodules: files.filter((path) => isBelow(path, submodules)),
  };
}

/** Asks the base's own lists, in a tree of nothing else: what an agent took out of its lists stays ignored. */
async function ignoredByBase(
  quarantine: Quarantine,
  index: string,
  directory: string,
  base: readonly TreeEntry[],
  paths: readonly string[],
): Promise<ReadonlySet<string>> {
  await mkdir(directory);
  const lists = base.filter(
    ({ path, kind }) => kind === 'file' && (path === '.gitignore' || path.endsWith('/.gitignore')),
  );
  await quarantine
    .git({ workTree: directory, index })
    .text(['checkout-index', '--quiet', '-z', '--stdin'], { input: lines(lists.map(({ path }) => path)) });
  // With `./` in front no name is taken for a pattern, and without an index no path is in anything's way.
  const git = quarantine.git({ workTree: directory, index: `${directory}-index` });
  const args = ['check-ignore', '--no-index', '-z', '--stdin'];
  const checked = await git.try(args, { input: lines(paths.map((path) => `./${path}`)) });
  // 1: none of them is ignored.
  if (checked.code > 1) throw failed(args, checked);
  const ignored = checked.stdout.toString('latin1').split('\0');
  return new Set(ignored.map((path) => path.replace(/^\.\//, '')));
}

function isBelow(path: string, directories: ReadonlySet<string>): boolean {
  for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
    if (directories.has(path.slice(0, slash))) return true;
  }
  return false;
}

function lines(paths: readonly string[]): string {
  return paths.map((path) => `${path}\0`).join('');
}
