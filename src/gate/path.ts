/** What a rule says of paths: exactly this one, or everything below (`/a/*` is the prefix `/a/`). */
export interface PathPattern {
  readonly kind: 'exact' | 'prefix';
  readonly value: string;
}

/** Reads `/exact` or `/below/*`. Only a path with one spelling will do. */
export function parsePathPattern(text: string): PathPattern | undefined {
  const kind = text.endsWith('/*') ? 'prefix' : 'exact';
  const value = kind === 'prefix' ? text.slice(0, -1) : text;
  return isPlainPath(value) ? { kind, value } : undefined;
}

export function formatPathPattern({ kind, value }: PathPattern): string {
  return kind === 'prefix' ? `${value}*` : value;
}

/**
 * Whether a path means the same to every server: no dot segments, not even encoded or with `;` parameters, no empty
 * segments, no encoded slashes, backslashes, control or unreserved characters, no backslash. Without the query.
 */
export function isPlainPath(path: string): boolean {
  if (!/^\/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$/.test(path) || path.includes('//')) return false;
  if (path.split('/').some((segment) => /^\.{1,2}(?:;|$)/.test(segment))) return false;
  return (path.match(/%.{0,2}/g) ?? []).every(isNeededEscape);
}

function isNeededEscape(escape: string): boolean {
  if (!/^%[0-9A-Fa-f]{2}$/.test(escape)) return false;
  const code = Number.parseInt(escape.slice(1), 16);
  return code >= 0x20 && code !== 0x7f && !/[A-Za-z0-9._~/\\%;-]/.test(String.fromCharCode(code));
}

/** Whether a rule that lets paths through lets this one: in its plain spelling only. */
export function allowsPath(pattern: PathPattern, path: string): boolean {
  return isPlainPath(path) && matches(pattern, path);
}

/**
 * Whether a rule that refuses paths refuses this one. A path with several readings might be the refused one, and some
 * servers do not mind the case, so both are refused.
 */
export function deniesPath(pattern: PathPattern, path: string): boolean {
  const lower = { kind: pattern.kind, value: pattern.value.toLowerCase() };
  return !isPlainPath(path) || matches(lower, path.toLowerCase());
}

function matches({ kind, value }: PathPattern, path: string): boolean {
  return kind === 'exact' ? path === value : path.startsWith(value);
}
