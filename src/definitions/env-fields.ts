import * as v from 'valibot';
import type { EnvValue, GitUser } from './definition.ts';
import { isLine, mapping, read, record } from './fields.ts';

/** What a variable may be called. */
export const variableName = /^[A-Za-z_][A-Za-z0-9_]*$/;

const value = read(
  "a text without NUL, `${HOST_VARIABLE}`, `?` or `?message`; nothing is written as ''",
  readEnvValue,
);

/** `env` of a bottle. */
export const envFields = record(
  {
    pattern: variableName,
    expected: 'the name of a variable: letters, digits and `_`, not beginning with a digit',
  },
  value,
  'a mapping of variables',
);

/** The forms of a value. Only a text that is `${NAME}` from end to end is taken from the host. */
function readEnvValue(text: string): EnvValue | undefined {
  if (text.includes('\0')) return undefined;
  const host = /^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$/.exec(text);
  if (host?.[1] !== undefined) return { kind: 'host', variable: host[1] };
  if (!text.startsWith('?')) return { kind: 'literal', value: text };
  const message = text.slice(1).trim();
  return message === '' || isLine(message) ? { kind: 'prompt', message } : undefined;
}

/** Git would drop or misread these in a name. Nothing counts as not said. */
const part = read('a text of one line without < and >', (value) =>
  value === '' || (isLine(value) && !/[<>]/.test(value)) ? value.trim() : undefined,
);

/** `git-gate.user`. */
export const gitUserFields = v.pipe(
  mapping({ name: v.optional(part), email: v.optional(part) }),
  v.transform(({ name, email }): GitUser => ({
    ...(name === undefined || name === '' ? {} : { name }),
    ...(email === undefined || email === '' ? {} : { email }),
  })),
);
