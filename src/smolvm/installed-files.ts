import { randomBytes } from 'node:crypto';
import { lstat, mkdir, readlink, rename, stat, symlink } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';

/**
 * What smolvm's installer puts below the user's home, where a smolvm with another home does not find it, by its place
 * there: the guest's own root file system and the kernel's first program, and the templates of its disks (v1.8.1 to
 * v1.9.3, scripts/install.sh; src/agent/manager.rs `default_rootfs_path`, src/vm/backend/libkrun.rs, crates/smolvm-pack
 * `find_existing_template`). Packages of distributions keep theirs beside the program instead.
 */
const installed = ['.smolvm', '.local/share/smolvm/agent-rootfs', '.local/share/smolvm/init.krun'] as const;

/**
 * Links what smolvm's installer left in the user's home into another home of smolvm's, at the same place, so that it is
 * looked for in the same order as ever. What is not installed that way, or is really there, is left alone.
 */
export async function linkInstalledFiles(
  home: string,
  user: { readonly homeDir: string; readonly dataHome: string | undefined },
): Promise<void> {
  for (const place of installed) {
    const share = '.local/share/';
    const moved = user.dataHome !== undefined && isAbsolute(user.dataHome) && place.startsWith(share);
    const target = moved ? join(user.dataHome, place.slice(share.length)) : join(user.homeDir, place);
    if (await isThere(target)) await link(join(home, place), target);
  }
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

async function link(path: string, target: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there !== undefined && !there.isSymbolicLink()) return;
  if (there !== undefined && (await readlink(path)) === target) return;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // In one step also when several of us do it at once.
  const next = `${path}.${randomBytes(4).toString('hex')}`;
  await symlink(target, next);
  await rename(next, path);
}
