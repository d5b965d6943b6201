import { z } from 'zod';
import type { Problem } from './errors.ts';
import type { FrontMatter, Written } from './front-matter.ts';
import { nearest, showKey } from './spelling.ts';

// What schemas of definitions are built from. Every message says what was expected, and none what was found.

/** Names of agents and bottles, and so of their files. */
export const definitionName = /^[a-z][a-z0-9-]{0,62}$/;

/** A text that means something: read by `parse`, which answers `undefined` when it is none. */
export function read<T>(expected: string, parse: (text: string) => T | undefined) {
  return z.unknown().transform((value, context): T => {
    const found = typeof value === 'string' ? parse(value) : undefined;
    if (found !== undefined) return found;
    context.addIssue({ code: 'custom', message: `expected ${expected}` });
    return z.NEVER;
  });
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

export function list<S extends z.ZodType>(item: S, of: string) {
  return z.array(item, { error: `expected a list of ${of}` });
}

/** One or several. */
export const names = byKind(
  { text: name.transform((one) => [one]), list: z.array(name) },
  'a name or a list of names',
);

/** Anything; for what is only passed over. */
export const anything = z.unknown();

/** A mapping of these keys; all others are refused, with those that there are. */
export function mapping<Shape extends z.ZodRawShape>(shape: Shape) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? known.join(' ')
        : `expected a mapping with the keys ${known.join(', ')}`,
  });
}

/** A mapping whose keys are free. */
export function record<T>(
  key: { readonly pattern: RegExp; readonly expected: string },
  value: z.ZodType<T>,
  expected: string,
) {
  return z.unknown().transform((written, context): Readonly<Record<string, T>> => {
    if (typeof written !== 'object' || written === null || Array.isArray(written)) {
      context.addIssue({ code: 'custom', message: `expected ${expected}` });
      return z.NEVER;
    }
    const entries = Object.entries(written).flatMap(([name, inner]: [string, unknown]): [string, T][] => {
      if (!key.pattern.test(name)) {
        context.addIssue({
          code: 'custom',
          path: [name],
          message: `a key is expected to be ${key.expected}`,
        });
      }
      const result = value.safeParse(inner);
      if (result.success) return [[name, result.data]];
      passOn(context, result.error, [name]);
      return [];
    });
    return Object.fromEntries(entries);
  });
}

interface Kinds<T, M, L> {
  readonly text?: z.ZodType<T>;
  readonly mapping?: z.ZodType<M>;
  readonly list?: z.ZodType<L>;
}

/** What is read differently when it is a text, a mapping or a list: the problems are then those of that kind only. */
export function byKind<T = never, M = never, L = never>(kinds: Kinds<T, M, L>, expected: string) {
  return z.unknown().transform((value, context): T | M | L => {
    const schema: z.ZodType<T | M | L> | undefined =
      typeof value === 'string'
        ? kinds.text
        : Array.isArray(value)
          ? kinds.list
          : typeof value === 'object' && value !== null
            ? kinds.mapping
            : undefined;
    if (schema === undefined) {
      context.addIssue({ code: 'custom', message: `expected ${expected}` });
      return z.NEVER;
    }
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    passOn(context, result.error, []);
    return z.NEVER;
  });
}

function passOn(context: z.RefinementCtx, error: z.ZodError, below: readonly PropertyKey[]): void {
  for (const issue of error.issues) {
    const path = [...below, ...issue.path];
    if (issue.code === 'unrecognized_keys') {
      context.addIssue({ code: 'unrecognized_keys', keys: issue.keys, path, message: issue.message });
    } else context.addIssue({ code: 'custom', path, message: issue.message });
  }
}

/** Reads a definition's fields. The problems are sorted by line. */
export function readFields<T>(
  source: FrontMatter,
  fields: Readonly<Record<string, Written>>,
  schema: z.ZodType<T>,
  /** What is to be said of a key that is unknown at the top. */
  elsewhere: (key: string) => string | undefined,
): { readonly data: T } | { readonly problems: readonly Problem[] } {
  const result = schema.safeParse(fields);
  if (result.success) return { data: result.data };
  const problems = result.error.issues.flatMap((issue): Problem[] => {
    const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
    if (issue.code !== 'unrecognized_keys') {
      return [{ line: source.lineOf(path), problem: `${showPath(path)}${issue.message}` }];
    }
    return issue.keys.map((key) => ({
      line: source.lineOf([...path, key]),
      problem:
        (path.length === 0 ? elsewhere(key) : undefined) ?? unknownKey(key, path, issue.message.split(' ')),
    }));
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
