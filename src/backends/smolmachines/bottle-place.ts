import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Where on this host one bottle's own files of this backend are. */
export interface BottlePlace {
  /** For this backend alone, and as long as the bottle: what is known of it, and what it printed. */
  readonly directory: string;
  /** Mounted into the machine; holds bottle-init and nothing else. */
  readonly initDirectory: string;
  /** Where the session's broker answers. */
  readonly sessionSocket: string;
}

const blockBytes = 512;

/** Bytes that the files below a directory take on the disk: those of machines have holes (stat(2), st_blocks). */
export async function diskBytesBelow(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []);
  const sizes = entries.map(async (entry) => {
    if (!entry.isFile()) return 0;
    const found = await stat(join(entry.parentPath, entry.name)).catch(() => undefined);
    return (found?.blocks ?? 0) * blockBytes;
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
