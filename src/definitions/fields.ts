import * as v from 'valibot';
import { held, type Misfit, noSuchKey } from '../schema.ts';
import type { Problem } from './errors.ts';
import type { FrontMatter, Written } from './front-matter.ts';
import { nearest, showKey } from './spelling.ts';

// What schemas of definitions are built from. Every message says what was expected, and none what was found.

/** Names of agents and bottles, and so of their files. */
export const definitionName = /^[a-z][a-z0-9-]{0,62}$/;

/** A text that means something: read by `parse`, which answers `undefined` when it is none. */
export function read<T>(expected: string, parse: (text: string) => T | undefined) {
  const message = `expected ${expected}`;
  return v.pipe(
    v.string(message),
    v.rawTransform(({ dataset, addIssue, NEVER }): T => {
      const found = parse(dataset.value);
      if (found !== undefined) return found;
      addIssue({ message });
      return NEVER;
    }),
  );
}

/** A text of one line, not empty. */
export function text(expected: string, pattern = /./) {
  return read(expected, (value) => (isLine(value) && pattern.test(value) ? value : undefined));
}

/** Without control characters, line ends among them. */
export function isLine(value: string): boolean {
  return /^[^\p{Cc}\p{Zl}\p{Zp}]+$/u.test(value);
}

export const yesOrNo = read('true or false', (value) =>
  value === 'true' ? true : value === 'false' ? false : undefined,
);

export const name = text(
  'a name: lower-case letters, digits and `-`, beginning with a letter',
  definitionName,
);

export function list<S extends v.GenericSchema>(item: S, of: string) {
  return v.array(item, `expected a list of ${of}`);
}

/** One or several. */
export const names = byKind(
  {
    text: v.pipe(
      name,
      v.transform((one) => [one]),
    ),
    list: v.array(name),
  },
  'a name or a list of names',
);

/** Anything; for what is only passed over. */
export const anything = v.unknown();

/** A mapping of these keys; all others are refused, with those that there are. */
export function mapping<const Shape extends v.ObjectEntries>(shape: Shape) {
  const known = Object.keys(shape);
  return v.pipe(
    v.custom<object>(isMapping, `expected a mapping with the keys ${known.join(', ')}`),
    v.rawTransform(({ dataset, addIssue }): v.InferOutput<v.ObjectSchema<Shape, undefined>> => {
      const written = new Map<string, unknown>(Object.entries(dataset.value));
      const fields: [string, unknown][] = [];
      for (const [key, schema] of Object.entries(shape)) {
        const result = held(schema, written.get(key));
        if ('misfits' in result) passOn(addIssue, result.misfits, key);
        else if (result.data !== undefined) fields.push([key, result.data]);
      }
      for (const key of written.keys()) {
        if (known.includes(key)) continue;
        addIssue({ expected: noSuchKey, message: known.join(' '), path: [placeOf(key)] });
      }
      return Object.fromEntries(fields) as v.InferOutput<v.ObjectSchema<Shape, undefined>>;
    }),
  );
}

/** A mapping whose keys are free. */
export function record<T>(
  key: { readonly pattern: RegExp; readonly expected: string },
  value: v.GenericSchema<unknown, T>,
  expected: string,
) {
  return v.pipe(
    v.custom<object>(isMapping, `expected ${expected}`),
    v.rawTransform(({ dataset, addIssue }): Readonly<Record<string, T>> => {
      const fields: [string, T][] = [];
      for (const [name, inner] of Object.entries(dataset.value) as [string, unknown][]) {
        if (!key.pattern.test(name)) {
          addIssue({ message: `a key is expected to be ${key.expected}`, path: [placeOf(name)] });
        }
        const result = held(value, inner);
        if ('misfits' in result) passOn(addIssue, result.misfits, name);
        else fields.push([name, result.data]);
      }
      return Object.fromEntries(fields);
    }),
  );
}

function isMapping(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

interface Kinds<Text, Mapping, List> {
  readonly text?: Text;
  readonly mapping?: Mapping;
  readonly list?: List;
}

/** What is read differently when it is a text, a mapping or a list: the problems are then those of that kind only. */
export function byKind<
  Text extends v.GenericSchema = never,
  Mapping extends v.GenericSchema = never,
  List extends v.GenericSchema = never,
>(kinds: Kinds<Text, Mapping, List>, expected: string) {
  const none = v.never(`expected ${expected}`);
  return v.lazy((value) => {
    if (typeof value === 'string') return kinds.text ?? none;
    if (Array.isArray(value)) return kinds.list ?? none;
    return (isMapping(value) ? kinds.mapping : undefined) ?? none;
  });
}

interface Complaint {
  readonly message: string;
  readonly expected?: string;
  readonly path: [v.UnknownPathItem, ...v.UnknownPathItem[]];
}

/** What is wrong with the value of `key`. */
function passOn(addIssue: (complaint: Complaint) => void, misfits: readonly Misfit[], key: string): void {
  for (const { path, message, isUnknownKey } of misfits) {
    const kind = isUnknownKey ? { expected: noSuchKey } : {};
    addIssue({ message, path: [placeOf(key), ...path.map(placeOf)], ...kind });
  }
}

/** A step of a path, without what stands there. */
function placeOf(key: string | number): v.UnknownPathItem {
  return { type: 'unknown', origin: 'value', input: undefined, key, value: undefined };
}

/** Reads a definition's fields. The problems are sorted by line. */
export function readFields<T>(
  source: FrontMatter,
  fields: Readonly<Record<string, Written>>,
  schema: v.GenericSchema<unknown, T>,
  /** What is to be said of a key that is unknown at the top. */
  elsewhere: (key: string) => string | undefined,
): { readonly data: T } | { readonly problems: readonly Problem[] } {
  const result = held(schema, fields);
  if ('data' in result) return result;
  const problems = result.misfits.map(({ path, message, isUnknownKey }): Problem => {
    const line = source.lineOf(path);
    if (!isUnknownKey) return { line, problem: `${showPath(path)}${message}` };
    const [key, above] = [String(path.at(-1)), path.slice(0, -1)];
    const problem =
      (above.length === 0 ? elsewhere(key) : undefined) ?? unknownKey(key, above, message.split(' '));
    return { line, problem };
  });
  return { problems: problems.sort((a, b) => a.line - b.line) };
}

function unknownKey(key: string, path: readonly (string | number)[], known: readonly string[]): string {
  const replaced = Object.hasOwn(replacedKeys, key) ? replacedKeys[key] : undefined;
  if (replaced !== undefined) return `${showPath([...path, key])}${replaced}`;
  const near = nearest(key, known);
  const suggestion = near === undefined ? '' : ` (did you mean \`${near}\`?)`;
  return `unknown key ${showKey([...path, key].filter((part) => typeof part === 'string').join('.'))}${suggestion}; there are ${known.join(', ')}`;
}

/** Keys of earlier days, wherever they stand, and one that carries credentials. */
const replacedKeys: Readonly<Record<string, string>> = {
  git: 'is now `git-gate`',
  tokens: 'is now `egress.routes[].auth`',
  cred_proxy: 'is now `egress.routes`',
  path_allowlist: 'is now `matches`',
  pipelock: 'is no more; `egress` says what may leave',
  ssh: 'is now `git-gate.repos`',
  runtime: 'is no more; the runtime is chosen at the start',
  repos: 'belongs to a bottle, not to an agent: repositories come with credentials',
};

function showPath(path: readonly (string | number)[]): string {
  const shown = path.filter((part) => typeof part === 'string').join('.');
  return shown === '' ? '' : `${showKey(shown)}: `;
}
