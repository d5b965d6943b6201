import type { Dirent } from 'node:fs';
import { lstat, readdir, rmdir, unlink } from 'node:fs/promises';
import { getCompileCacheDir } from 'node:module';
import { join, sep } from 'node:path';

/** What was compiled so long ago is compiled anew, which takes a moment; most of it is of sources that are gone. */
const oldMs = 30 * 86_400_000;

interface PruneCompiled {
  /** Also what other versions of ours or of Node compiled, however new: they compile it anew when they run. */
  readonly others?: boolean;
  /** Only count. */
  readonly dryRun?: boolean;
  readonly now?: Date;
  /** Where this process keeps its own; by default as Node has it. A process that keeps none knows no others. */
  readonly own?: string;
}

/**
 * Removes compiled code (bin/modules.cjs) that nobody will read again. Whoever runs has read it, so nothing breaks for
 * anybody. What cannot be read or removed stays, without a word: it is only a cache.
 * @param compiled the directory of all of it.
 * @returns the bytes that were freed, or would be.
 */
export async function pruneCompiled(compiled: string, options: PruneCompiled = {}): Promise<number> {
  const { own = getCompileCacheDir(), others = false, dryRun = false, now = new Date() } = options;
  const isOthers = (path: string) => others && own !== undefined && !path.startsWith(`${own}${sep}`);
  const stats = await lstat(compiled).catch(() => undefined);
  if (stats?.isDirectory() !== true) return 0;
  // Links are listed, and not followed.
  const found: Dirent[] = await readdir(compiled, { recursive: true, withFileTypes: true }).catch(() => []);
  let freed = 0;
  for (const entry of found.filter((one) => !one.isDirectory())) {
    const path = join(entry.parentPath, entry.name);
    const file = await lstat(path).catch(() => undefined);
    if (file === undefined || !(isOthers(path) || file.mtimeMs < now.getTime() - oldMs)) continue;
    if (dryRun || (await gone(unlink(path)))) freed += file.size;
  }
  if (dryRun) return freed;
  const directories = found.filter((one) => one.isDirectory()).map((one) => join(one.parentPath, one.name));
  // The innermost first. One that is not empty stays, as rmdir(2) has it.
  for (const path of directories.sort().reverse()) if (path !== own) await gone(rmdir(path));
  return freed;
}

function gone(removal: Promise<void>): Promise<boolean> {
  return removal.then(
    () => true,
    () => false,
  );
}
