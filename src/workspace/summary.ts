import { ByteReader } from '../tar/byte-reader.ts';
import { staysInside } from '../tar/path.ts';
import { type HostExecution, hostExecutions } from './host-executes.ts';
import { printable, printablePath } from './printable.ts';
import type { Quarantine } from './quarantine.ts';

/** As many of each list are kept; the counts are of all. */
const listed = 500;
const subjectsListed = 50;
/** PATH_MAX: what is longer cannot be a link. */
const targetLimit = 4096;

export interface FileChange {
  /** Printable. */
  readonly path: string;
  readonly status: 'added' | 'modified' | 'deleted' | 'type-changed';
  /** Lines; absent for what git takes for binary. */
  readonly added?: number;
  readonly removed?: number;
}

/** What a branch brings, against the commit that the work started from. All text is printable. */
export interface WorkSummary {
  readonly commits: { readonly count: number; readonly subjects: readonly string[] };
  readonly files: readonly FileChange[];
  readonly totals: { readonly files: number; readonly added: number; readonly removed: number };
  /** Added or changed paths that programs on the host run, those that run by themselves first. */
  readonly executes: readonly HostExecution[];
  /** New or changed symbolic links that lead out of the tree, or into a `.git`. */
  readonly linksOut: readonly { readonly path: string; readonly target: string }[];
  /** Files that were made executable, or added so. */
  readonly madeExecutable: readonly string[];
  /** New or changed references to other repositories. */
  readonly submodules: readonly string[];
}

interface Raw {
  readonly path: string;
  readonly oldMode: string;
  readonly newMode: string;
  readonly oid: string;
  readonly status: FileChange['status'];
}

const compare = ['diff-tree', '-r', '-z', '--no-renames', '--no-ext-diff', '--no-textconv', '--no-abbrev'];

/** @throws GitFailed */
export async function summarize(quarantine: Quarantine, tip: string): Promise<WorkSummary> {
  const git = quarantine.git();
  const { base } = quarantine;
  const range = [tip, `^${base}`];
  const count = Number(await git.text(['rev-list', '--count', ...range]));
  const subjects = await git.text(['log', '-z', '--format=%s', `--max-count=${subjectsListed}`, ...range]);
  const raw = parseRaw(await git.bytes([...compare, '--raw', base, tip]));
  const lines = parseNumstat(await git.bytes([...compare, '--numstat', base, tip]));
  const present = raw.filter(({ status }) => status !== 'deleted');
  let added = 0;
  let removed = 0;
  for (const one of lines.values()) {
    added += one.added ?? 0;
    removed += one.removed ?? 0;
  }
  const isNew = (mode: string) => present.filter((one) => one.newMode === mode && one.oldMode !== mode);
  return {
    commits: {
      count,
      subjects: subjects
        .split('\0')
        .filter((subject) => subject !== '')
        .map((subject) => printable(subject)),
    },
    files: raw
      .slice(0, listed)
      .map(({ path, status }) => ({ path: printablePath(path), status, ...lines.get(path) })),
    totals: { files: raw.length, added, removed },
    executes: hostExecutions(present.map(({ path }) => path)).slice(0, listed),
    linksOut: await linksOut(
      quarantine,
      present.filter(({ newMode }) => newMode === '120000'),
    ),
    madeExecutable: isNew('100755')
      .slice(0, listed)
      .map(({ path }) => printablePath(path)),
    submodules: present
      .filter(({ newMode }) => newMode === '160000')
      .slice(0, listed)
      .map(({ path }) => printablePath(path)),
  };
}

const statuses: Readonly<Record<string, FileChange['status']>> = {
  A: 'added',
  M: 'modified',
  D: 'deleted',
  T: 'type-changed',
};

/** `:<mode> <mode> <oid> <oid> <status>NUL<path>NUL` (git-diff-tree(1), "Raw output format"). */
export function parseRaw(output: string): Raw[] {
  const fields = output.split('\0');
  const found: Raw[] = [];
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const [oldMode = '', newMode = '', , oid = '', letter = ''] = (fields[at] ?? '').slice(1).split(' ');
    found.push({ path: fields[at + 1] ?? '', oldMode, newMode, oid, status: statuses[letter] ?? 'modified' });
  }
  return found;
}

/** `<added>TAB<removed>TAB<path>NUL`, with `-` for binary files. */
export function parseNumstat(output: string): Map<string, { added?: number; removed?: number }> {
  const found = new Map<string, { added?: number; removed?: number }>();
  for (const record of output.split('\0')) {
    const [, added, removed, path] = /^([0-9]+|-)\t([0-9]+|-)\t(.*)$/s.exec(record) ?? [];
    if (path === undefined) continue;
    found.set(path, added === '-' ? {} : { added: Number(added), removed: Number(removed) });
  }
  return found;
}

async function linksOut(
  quarantine: Quarantine,
  links: readonly Raw[],
): Promise<{ path: string; target: string }[]> {
  if (links.length === 0) return [];
  await using child = quarantine.git().open(['cat-file', '--batch', '--buffer'], {
    input: links.map(({ oid }) => `${oid}\n`).join(''),
  });
  const reader = new ByteReader(child.stdout);
  const found: { path: string; target: string }[] = [];
  for (const { path } of links) {
    const size = Number(/^[0-9a-f]+ blob ([0-9]+)$/.exec((await reader.line(1000)) ?? '')?.[1]);
    // What does not read as a link is shown as one that leads out.
    const target = Number.isNaN(size)
      ? ''
      : (await reader.take(Math.min(size, targetLimit))).toString('latin1');
    if (!Number.isNaN(size)) await reader.skip(size - target.length + 1);
    const intoGit = target.split('/').some((part) => part.toLowerCase() === '.git');
    if (size <= targetLimit && staysInside(path, target) && !intoGit) continue;
    if (found.length < listed) found.push({ path: printablePath(path), target: printablePath(target) });
  }
  return found;
}
