import { PathTooLong } from './errors.ts';

/** Bytes of a path, and of a symbolic link's target: PATH_MAX (Linux, limits.h). No engine can unpack a longer one. */
export const pathLimit = 4096;
/** Bytes of one part of a path: NAME_MAX (Linux, limits.h). */
const partLimit = 255;
/** A part over the limit. What a whiteout hides may have the full length, and its prefix is not part of that. */
const longPart = new RegExp(`(?:^|/)(?:\\.wh\\.|(?!\\.wh\\.))([^/]{${partLimit + 1},})`);
const shownLength = 200;

/** Headers of this many bytes we make in any case. */
const madeAnyway = 16 * 1024 * 1024;

/**
 * Refuses what Linux cannot hold: without a limit, one small entry of many thousand parts would become a directory for
 * each of them, and each with the whole path in its header.
 * @param path normalised, one character a byte.
 * @throws PathTooLong
 */
export function requireHoldablePath(path: string): void {
  if (path.length > pathLimit) throw pathTooLong(path, path.length, pathLimit);
  if (path.length <= partLimit) return;
  const part = longPart.exec(path)?.[1];
  if (part !== undefined) throw pathTooLong(path, part.length, partLimit);
}

/** @param bytes of what is too long: the path, a part of it, or the target of the symbolic link there. */
export function pathTooLong(path: string, bytes: number, limit: number): PathTooLong {
  const shown = path.length > shownLength ? `${path.slice(0, shownLength)}…` : path;
  return new PathTooLong({ path: shown, bytes, limit });
}

/**
 * The most bytes of headers that are made for an image whose layers have that many: no more than they have themselves.
 * An image needs some for directories that no layer describes, and for links that lost the name they lead to.
 */
export function madeLimit(layerBytes: number): number {
  return madeAnyway + layerBytes;
}
