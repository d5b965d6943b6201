import type { BigIntStats } from 'node:fs';

/**
 * What shows whether a file was touched since its bytes were last known to be right: its size, both of its times and its
 * inode. A copy, a restored backup, an edit or a mere `touch` gives another seal; bits that rot on the disk do not.
 */
export function sealOf({ size, mtimeNs, ctimeNs, ino }: BigIntStats): string {
  return `${size} ${mtimeNs} ${ctimeNs} ${ino}\n`;
}
