import * as v from 'valibot';

// What comes from outside is held against a schema in here and nowhere else: valibot's own errors and messages quote what
// they were given, which may be a secret. What leaves here says where something is wrong and what was expected there.

/** What is wrong with a value, at one place in it. */
export interface Misfit {
  readonly path: readonly (string | number)[];
  /** What was expected; never what was found. */
  readonly message: string;
  /** Nothing is wrong with what stands there, but it has no place; the key is the path's last. */
  readonly isUnknownKey: boolean;
}

/** A value that does not fit. */
export class DoesNotFit extends Error {
  constructor(misfits: readonly Misfit[]) {
    super(
      misfits.map(({ path, message }) => [path.join('.'), message].filter(Boolean).join(': ')).join('; '),
    );
    this.name = 'DoesNotFit';
  }
}

/** What an issue expects that is about a key without a place. */
export const noSuchKey = 'no such key';

/** `value` as `schema` has it, with defaults and without keys that it does not name; or all that is wrong with it. */
export function held<T>(
  schema: v.GenericSchema<unknown, T>,
  value: unknown,
): { readonly data: T } | { readonly misfits: readonly Misfit[] } {
  const result = v.safeParse(schema, value, { message: expectation });
  if (result.success) return { data: result.output };
  const misfits = result.issues.map((issue) => ({
    path: (issue.path ?? []).map(({ key }) => (typeof key === 'number' ? key : String(key))),
    message: issue.message,
    isUnknownKey: issue.expected === noSuchKey,
  }));
  return { misfits };
}

/** `value` as `schema` has it; `undefined` when it does not fit. */
export function ifFits<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T | undefined {
  const result = held(schema, value);
  return 'data' in result ? result.data : undefined;
}

/**
 * `value` as `schema` has it.
 * @throws DoesNotFit
 */
export function fit<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = held(schema, value);
  if ('data' in result) return result.data;
  throw new DoesNotFit(result.misfits);
}

/**
 * What a JSON text says.
 * @throws DoesNotFit: JSON's own error quotes the text.
 */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new DoesNotFit([{ path: [], message: 'no JSON', isUnknownKey: false }]);
  }
}

/** Instead of valibot's message. */
function expectation({ expected, path }: v.BaseIssue<unknown>): string {
  if (path?.at(-1)?.origin === 'key') return expected === 'never' ? 'unknown key' : 'missing';
  return expected === null || expected === 'unknown' ? 'not what belongs there' : `expected ${expected}`;
}

/** Any number that JSON can say, so neither infinite nor NaN. */
export const number = v.pipe(v.number(), v.finite());
/** A whole number that JavaScript holds exactly. */
export const int = v.pipe(v.number(), v.safeInteger());
/** A whole number, not negative. */
export const count = v.pipe(int, v.minValue(0));

/** valibot takes a list for an object. */
const notList = v.custom<object>((value) => !Array.isArray(value), 'expected Object');

/** An object whose keys are free; loses `__proto__`, `prototype` and `constructor`. */
export function recordOf<T>(value: v.GenericSchema<unknown, T>) {
  return v.pipe(notList, v.record(v.string(), value));
}

/** An object that may lack every key, which `v.object` would find in a list too. */
export function options<const Entries extends v.ObjectEntries>(entries: Entries) {
  return v.pipe(notList, v.object(entries));
}
