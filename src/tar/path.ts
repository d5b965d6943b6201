import { ArchiveRefused } from './errors.ts';

/** PATH_MAX and NAME_MAX (Linux, limits.h). */
const pathLimit = 4096;
const partLimit = 255;
/** No tree that people work on is deeper, and every part becomes a directory. */
const depthLimit = 256;
const shownLength = 200;

/**
 * The path of an entry below where an archive is unpacked: no leading `./`, no empty or `.` part, no trailing slash;
 * empty for the root itself.
 * @param path one character a byte.
 * @throws ArchiveRefused for whatever is absolute, climbs, or cannot be a path.
 */
export function pathInside(path: string): string {
  if (path.startsWith('/')) throw refuse('path-absolute', path);
  if (path.includes('\0')) throw refuse('path-unusable', path);
  if (path.length > pathLimit) throw refuse('path-too-long', path);
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw refuse('path-climbs', path);
  if (parts.length > depthLimit || parts.some((part) => part.length > partLimit)) {
    throw refuse('path-too-long', path);
  }
  return parts.join('/');
}

/**
 * Whether a symbolic link at `path` leads to a place below the root by its text alone. Links on the way are not looked
 * at: a tree where every link stays inside by its text has no way out.
 */
export function staysInside(path: string, target: string): boolean {
  if (target === '' || target.startsWith('/')) return false;
  let depth = path.split('/').length - 1;
  for (const part of target.split('/')) {
    if (part === '' || part === '.') continue;
    depth += part === '..' ? -1 : 1;
    if (depth < 0) return false;
  }
  return true;
}

export function refuse(reason: ArchiveRefused['fields']['reason'], path = ''): ArchiveRefused {
  const text = path.replace(
    /[^\x20-\x7e]/g,
    (one) => `\\x${one.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  return new ArchiveRefused({
    reason,
    path: text.length > shownLength ? `${text.slice(0, shownLength)}...` : text,
  });
}
