import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';

/** Bytes of an entry before its object id, and where its time of change and its size are (gitformat-index(5)). */
const statBytes = 40;
const modifiedAt = 8;
const sizeAt = 36;

/**
 * Writes into an index that `git read-tree` made what the files will look like once they are unpacked: without it, every
 * command that compares without refreshing (`git diff-index`) takes each file for changed, and the first that refreshes
 * reads all of them. Only the time in seconds and the size are set, which is what git looks at with
 * `core.checkStat=minimal`. An index of a form that is not known here is left as it is: git then reads the files.
 * @param sizeOf the size of an unpacked file, by its path as a byte string; `undefined` for what git should read itself.
 */
export async function setIndexStat(
  path: string,
  objectFormat: 'sha1' | 'sha256',
  modified: Date,
  sizeOf: (path: string) => number | undefined,
): Promise<void> {
  const bytes = await readFile(path);
  const hashBytes = objectFormat === 'sha1' ? 20 : 32;
  if (bytes.toString('latin1', 0, 4) !== 'DIRC' || bytes.readUInt32BE(4) !== 2) return;
  const seconds = Math.floor(modified.getTime() / 1000);
  const nameAt = statBytes + hashBytes + 2;
  let at = 12;
  for (let left = bytes.readUInt32BE(8); left > 0; left--) {
    const end = bytes.indexOf(0, at + nameAt);
    if (end === -1) return;
    const size = sizeOf(bytes.toString('latin1', at + nameAt, end));
    if (size !== undefined) {
      bytes.writeUInt32BE(seconds, at + modifiedAt);
      bytes.writeUInt32BE(size % 2 ** 32, at + sizeAt);
    }
    // Each entry is filled up with one to eight NULs to a multiple of eight bytes.
    at += (Math.floor((end - at) / 8) + 1) * 8;
  }
  const hashed = bytes.subarray(0, bytes.length - hashBytes);
  createHash(objectFormat).update(hashed).digest().copy(bytes, hashed.length);
  await writeFile(path, bytes);
}
