import { readFileSync } from 'node:fs';

/** The tables of a TOML file and their plain values: the part of TOML that smolvm's configuration uses. */
export function readToml(path: string): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const tables = new Map<string, Map<string, string>>();
  let current = new Map<string, string>();
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const text = line.trim();
    if (text === '' || text.startsWith('#')) continue;
    const table = /^\[(.+)\]$/.exec(text)?.[1];
    if (table !== undefined) {
      current = new Map();
      tables.set(
        table.replace(/"((?:[^"\\]|\\.)*)"/g, (quoted) => String(JSON.parse(quoted))),
        current,
      );
      continue;
    }
    const [, key, value] = /^([\w-]+)\s*=\s*("(?:[^"\\]|\\.)*"|true|false|-?\d+)$/.exec(text) ?? [];
    if (key === undefined || value === undefined) throw new SyntaxError(`cannot parse ${path}: ${text}`);
    current.set(key, String(JSON.parse(value)));
  }
  return tables;
}
