import type { Git } from './git.ts';

/** What a commit has at a path. Paths are byte strings (latin1). */
export interface TreeEntry {
  readonly path: string;
  readonly kind: 'file' | 'executable' | 'symlink' | 'submodule';
  readonly oid: string;
  /** Bytes of the object; 0 of a submodule. */
  readonly size: number;
}

const kinds: Readonly<Record<string, TreeEntry['kind']>> = {
  '100644': 'file',
  // Of before git had two modes; checked out as any file.
  '100664': 'file',
  '100755': 'executable',
  '120000': 'symlink',
  '160000': 'submodule',
};

/** All of a commit's files. @throws GitFailed */
export async function readTree(git: Git, commit: string): Promise<TreeEntry[]> {
  const output = await git.bytes(['ls-tree', '-r', '-l', '-z', '--full-tree', commit]);
  return output.split('\0').flatMap((record) => {
    const tab = record.indexOf('\t');
    const [mode = '', , oid = '', size = ''] = record.slice(0, tab).split(/ +/);
    const kind = kinds[mode];
    if (tab === -1 || kind === undefined) return [];
    return [{ path: record.slice(tab + 1), kind, oid, size: size === '-' ? 0 : Number(size) }];
  });
}

/** What attributes say about files, as far as it matters here. */
export interface Attributes {
  /** Paths whose files are not what the objects hold: line ends, encodings, keywords. */
  readonly converted: ReadonlySet<string>;
  /** Paths that a filter program would convert, which is not run; by the filter's name. */
  readonly filtered: ReadonlyMap<string, readonly string[]>;
}

/**
 * Reads attributes from the `.gitattributes` in an index. Does not run filters.
 * @param git on a repository of ours, with that index.
 */
export async function readAttributes(git: Git, entries: readonly TreeEntry[]): Promise<Attributes> {
  const converted = new Set<string>();
  const filtered = new Map<string, string[]>();
  if (entries.some(({ path }) => path === '.gitattributes' || path.endsWith('/.gitattributes'))) {
    const files = entries.filter(({ kind }) => kind === 'file' || kind === 'executable');
    const names = ['eol', 'working-tree-encoding', 'ident', 'filter'];
    const output = await git.bytes(['check-attr', '--cached', '-z', '--stdin', ...names], {
      input: files.map(({ path }) => `${path}\0`).join(''),
    });
    const fields = output.split('\0');
    for (let at = 0; at + 2 < fields.length; at += 3) {
      const [path = '', name, value = ''] = fields.slice(at, at + 3);
      const given = value !== 'unspecified' && value !== 'unset';
      if (!given) continue;
      if (name === 'filter') (filtered.get(value) ?? newList(filtered, value)).push(path);
      else if (name !== 'eol' || value === 'crlf') converted.add(path);
    }
  }
  return { converted, filtered };
}

function newList(lists: Map<string, string[]>, key: string): string[] {
  const list: string[] = [];
  lists.set(key, list);
  return list;
}
