import { stat } from 'node:fs/promises';
import type { Mount } from './backend.ts';
import { MountUnfit } from './errors.ts';

/** What a machine can be given of the host: directories. @throws MountUnfit for anything else. */
export async function requireDirectories(mounts: readonly Mount[]): Promise<void> {
  for (const { source } of mounts) {
    const found = await stat(source).catch(() => undefined);
    if (found?.isDirectory() !== true) throw new MountUnfit({ source });
  }
}
