import { statfs } from 'node:fs/promises';

/** As many bytes of work are taken unless more is asked for: much more than anybody reviews. */
export const defaultWorkBytes = 1024 ** 3;

/** What came is on the disk three times before it is a branch: as it came, in the quarantine, and packed anew. */
const copies = 3;

export interface SizeLimit {
  readonly bytes: number;
  /** `room`: the disk has no more, whatever was asked for. */
  readonly by: 'size' | 'room';
}

/**
 * How much may be written below a directory before what comes out of a bottle is refused.
 * @param asked bytes that somebody wants at most, instead of the default.
 */
export async function sizeLimit(directory: string, asked = defaultWorkBytes): Promise<SizeLimit> {
  // What an unprivileged user may still write (statvfs(3), f_bavail).
  const { bavail, bsize } = await statfs(directory);
  const room = Math.floor((bavail * bsize) / copies);
  return room < asked ? { bytes: room, by: 'room' } : { bytes: asked, by: 'size' };
}
