import { randomBytes } from 'node:crypto';
import { chmod, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMap, isSeq, parseDocument } from 'yaml';
import { DefinitionUnreadable, DefinitionUnwritable } from './errors.ts';
import { parseFrontMatter } from './front-matter.ts';

/** A rule of the command line, to be kept. */
export interface SavedRule {
  readonly action: 'allow' | 'deny';
  /** `host`, `host:port`, ... as `parseRule` takes it. */
  readonly text: string;
  readonly reach: readonly string[];
}

/**
 * Adds a rule to the user's own bottle: the one among `names` that says what may be reached, the last one if several do,
 * and if none does, the last of all. Comments and layout of the file stay. Never a repository's file.
 * @returns the file's path.
 * @throws DefinitionUnreadable, DefinitionInvalid, DefinitionUnwritable
 */
export async function saveRule(home: string, names: readonly string[], rule: SavedRule): Promise<string> {
  const files = await Promise.all(
    names.map((name) => readBottleFile(join(home, '.claude-bottle', 'bottles', `${name}.md`))),
  );
  // A bottle that says nothing of egress has its parents'; a first rule of its own would replace all of theirs.
  const chosen =
    files.findLast(({ text, path }) => 'egress' in parseFrontMatter(path, text).fields) ?? files.at(-1);
  if (chosen === undefined) throw new Error('a rule is saved for a bottle without files');
  await replaceFile(chosen.path, withRule(chosen.text, rule));
  return chosen.path;
}

async function readBottleFile(path: string): Promise<{ path: string; text: string }> {
  try {
    return { path, text: await readFile(path, 'utf8') };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new DefinitionUnreadable({ path, reason: 'io-error', code });
  }
}

/** The same file with one more rule. @param text one that `parseFrontMatter` takes */
export function withRule(text: string, { action, text: host, reach }: SavedRule): string {
  const [, open = '', yaml = '', rest = ''] =
    /^(---[ \t]*\r?\n)([^]*?)(^---[ \t]*(?:\r?\n|$)[^]*)$/m.exec(text) ?? [];
  const document = parseDocument(yaml);
  const entry = reach.length === 0 ? host : { ...portsOf(host), reach: [...reach] };
  const path = ['egress', action];
  const list = document.getIn(path);
  if (isSeq(list)) {
    if (list.items.some((item) => JSON.stringify(item) === JSON.stringify(entry))) return text;
    list.add(document.createNode(entry));
  } else if (isMap(document.get('egress'))) {
    document.setIn(path, document.createNode([entry]));
  } else {
    document.set('egress', document.createNode({ [action]: [entry] }));
  }
  return `${open}${document.toString({ lineWidth: 0 })}${rest}`;
}

/** A rule with more to say than its short form has its parts apart. */
function portsOf(text: string): { host: string; ports?: number[] | 'any' } {
  const [, host = text, port] = /^(\[[^\]]*\]|[^:]*):(\*|[0-9]+)$/.exec(text) ?? [];
  return port === undefined ? { host: text } : { host, ports: port === '*' ? 'any' : [Number(port)] };
}

async function replaceFile(path: string, text: string): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    const { mode } = await stat(path);
    await writeFile(draft, text, { flag: 'wx', mode: 0o600 });
    await chmod(draft, mode & 0o777);
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw new DefinitionUnwritable({ path, code: (error as NodeJS.ErrnoException).code ?? 'unknown' });
  }
}
