import { randomBytes } from 'node:crypto';
import { lstat, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DefinitionExists, DefinitionUnwritable } from './errors.ts';
import type { StarterFile } from './starter.ts';

/**
 * Writes definitions below the home directory, readable by the user only: all of them or none.
 * @returns their paths.
 * @throws DefinitionExists unless forced, DefinitionUnwritable
 */
export async function writeStarter(
  home: string,
  files: readonly StarterFile[],
  { force }: { readonly force: boolean },
): Promise<string[]> {
  const paths = files.map(({ path }) => join(home, path));
  if (!force) {
    const there = await Promise.all(paths.map(exists));
    const taken = paths.filter((_, index) => there[index]);
    if (taken.length > 0) throw new DefinitionExists({ paths: taken });
  }
  await using written = new AsyncDisposableStack();
  for (const { path, text } of files) {
    const target = join(home, path);
    try {
      await mkdir(dirname(target), { recursive: true, mode: 0o700 });
      await (force ? replace(target, text) : writeFile(target, text, { flag: 'wx', mode: 0o600 }));
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
      // Somebody else was quicker.
      if (code === 'EEXIST' && !force) throw new DefinitionExists({ paths: [target] });
      throw new DefinitionUnwritable({ path: target, code });
    }
    if (!force) written.defer(() => rm(target, { force: true }));
  }
  written.move();
  return paths;
}

/** At once, so that nobody reads half of it. */
async function replace(target: string, text: string): Promise<void> {
  const fresh = `${target}.${randomBytes(6).toString('hex')}`;
  try {
    await writeFile(fresh, text, { flag: 'wx', mode: 0o600 });
    await rename(fresh, target);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    return false;
  }
}
