import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const fetched: Readonly<Record<string, string>> = {
  crane: 'crane/usr/bin/crane',
  msb: 'microsandbox/bin/msb',
};

/**
 * The path of a registry client. One that is missing is an error, not a skipped test: `script/clients` and
 * `script/bootstrap` put them here.
 */
export function client(name: 'crane' | 'msb' | 'skopeo' | 'podman' | 'docker' | 'umoci'): string {
  const own = fetched[name];
  const places =
    own === undefined
      ? (process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, name))
      : [join(import.meta.dirname, '../../.tools/clients', own)];
  const found = places.find(isProgram);
  if (found === undefined) {
    throw new Error(`${name} is not here: run ${own === undefined ? 'script/bootstrap' : 'script/clients'}`);
  }
  return found;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
