import { constants } from 'node:fs';
import { open, readdir, realpath } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { DefinitionUnreadable } from './errors.ts';
import { definitionName } from './fields.ts';
import type { FrontMatter } from './front-matter.ts';

/** More than any definition needs, and little enough to read at once. */
const largest = 256 * 1024;

/** A directory of definitions, `<name>.md` each. */
export interface Shelf {
  readonly directory: string;
  /** As it is shown: `~/.claude-bottle/agents`. */
  readonly shown: string;
  /** What nothing in it may lead out of, by whatever symbolic link. */
  readonly within?: string;
}

/** The names of what is there; files that could not be named are no definitions. */
export async function namesOn({ directory }: Shelf): Promise<string[]> {
  const entries = await readdir(directory).catch(() => []);
  return entries
    .filter((entry) => entry.endsWith('.md'))
    .map((entry) => entry.slice(0, -3))
    .filter((name) => definitionName.test(name))
    .sort();
}

/**
 * Reads one definition, `undefined` if there is none of that name.
 * @throws DefinitionUnreadable, DefinitionInvalid
 */
export async function readFrom(shelf: Shelf, name: string): Promise<FrontMatter | undefined> {
  const shown = `${shelf.shown}/${name}.md`;
  try {
    const path = await placeOf(shelf, name, shown);
    if (path === undefined) return undefined;
    // Where there is no definition, nothing waits for the YAML parser to load.
    const { parseFrontMatter } = await import('./front-matter.ts');
    return parseFrontMatter(shown, await textOf(path, shown));
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code === undefined) throw error;
    const denied = code === 'EACCES' || code === 'EPERM';
    throw new DefinitionUnreadable({ path: shown, reason: denied ? 'no-permission' : 'io-error', code });
  }
}

async function placeOf(shelf: Shelf, name: string, shown: string): Promise<string | undefined> {
  const place = await realpath(join(shelf.directory, `${name}.md`));
  if (shelf.within === undefined) return place;
  const way = relative(await realpath(shelf.within), place);
  if (way === '..' || way.startsWith(`..${sep}`)) {
    throw new DefinitionUnreadable({ path: shown, reason: 'outside-repository' });
  }
  return place;
}

async function textOf(path: string, shown: string): Promise<string> {
  // It is resolved: a link that appears here now was put in between. Nonblocking, so that a pipe does not hold us up.
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  if (!(await file.stat()).isFile()) throw new DefinitionUnreadable({ path: shown, reason: 'not-a-file' });
  const buffer = Buffer.alloc(largest + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  if (length > largest) throw new DefinitionUnreadable({ path: shown, reason: 'too-large' });
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, length));
    if (!text.includes('\0')) return text;
  } catch {
    // Said below.
  }
  throw new DefinitionUnreadable({ path: shown, reason: 'not-text' });
}

/** Of an error of the system. */
function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && 'errno' in error
    ? error.code
    : undefined;
}
