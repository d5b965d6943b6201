import { constants, type Stats } from 'node:fs';
import { link, lstat, mkdir, open, readdir, rm, symlink } from 'node:fs/promises';
import { ByteReader } from './byte-reader.ts';
import { tarTypes } from '../oci/tar-header.ts';
import { pathInside, refuse, staysInside } from './path.ts';
import { type ReadEntry, readTar } from './read.ts';

export interface UnpackLimits {
  readonly entries: number;
  /** Of all files together, as unpacked. */
  readonly bytes: number;
}

export const defaultUnpackLimits: UnpackLimits = { entries: 1_000_000, bytes: 16 * 1024 ** 3 };

export interface UnpackOptions {
  readonly limits?: UnpackLimits;
  /**
   * `inside` (the default): a symbolic link that leads out of the tree refuses the archive. `any`: it is kept as it is, for a
   * reader that follows none.
   */
  readonly symlinks?: 'inside' | 'any';
  /** Leading parts of each path that are dropped; an entry with no more than those is, too. */
  readonly strip?: number;
  /** What is left out. The path is a byte string (latin1), below the destination. */
  readonly skip?: (path: string) => boolean;
  readonly signal?: AbortSignal;
}

export interface Unpacked {
  readonly entries: number;
  readonly bytes: number;
  /** Devices, pipes and the like, which are never made, and links with no place; byte strings (latin1). */
  readonly leftOut: readonly string[];
}

/** As many of those left out are named. */
const namedLimit = 1000;

/**
 * Unpacks an archive of unknown origin into an empty directory of our own. Every file is created anew, nothing that
 * exists is written to, and symbolic links are made after everything else, so that no link of the archive is ever on the
 * way to a file. Files belong to this process, with the permission bits of the archive and no set-user-id, set-group-id
 * or sticky bit; this process may always read and remove what it made.
 * @throws ArchiveRefused; what was unpacked until then stays for the caller to remove. The reason of `signal`.
 */
export async function unpackTar(
  source: AsyncIterable<Uint8Array>,
  destination: string,
  options: UnpackOptions = {},
): Promise<Unpacked> {
  const reader = new ByteReader(source);
  if ((await readdir(destination)).length > 0) throw new Error(`not empty: ${destination}`);
  const unpacking = new Unpacking(destination, options);
  for await (const entry of readTar(reader)) {
    options.signal?.throwIfAborted();
    await unpacking.add(entry);
  }
  return unpacking.finish();
}

class Unpacking {
  readonly #root: Buffer;
  readonly #options: UnpackOptions;
  readonly #limits: UnpackLimits;
  /** Directories that are there: each was made by us, and none is a link. */
  readonly #directories = new Set<string>(['']);
  readonly #symlinks = new Map<string, string>();
  readonly #leftOut: string[] = [];
  #entries = 0;
  #bytes = 0;

  constructor(destination: string, options: UnpackOptions) {
    this.#root = Buffer.from(`${destination}/`);
    this.#options = options;
    this.#limits = options.limits ?? defaultUnpackLimits;
  }

  async add(entry: ReadEntry): Promise<void> {
    this.#entries += 1;
    if (this.#entries > this.#limits.entries) throw refuse('too-many-entries', entry.path);
    const path = this.#place(entry.path);
    if (path === '' || this.#options.skip?.(path) === true) return;
    switch (entry.type) {
      case tarTypes.directory:
        await this.#directory(path);
        break;
      case tarTypes.file:
        await this.#file(path, entry);
        break;
      case tarTypes.hardlink:
        await this.#hardlink(path, entry);
        break;
      case tarTypes.symlink:
        await this.#remember(path, entry.link);
        break;
      case tarTypes.gnuSparse:
        throw refuse('sparse', path);
      default:
        this.#leaveOut(path);
    }
  }

  async finish(): Promise<Unpacked> {
    for (const [path, target] of this.#symlinks) {
      const parent = parentOf(path);
      // Something else took its place, or the place of what it lay in: the archive contradicts itself.
      if (!this.#directories.has(parent) || (await this.#stats(path)) !== undefined) this.#leaveOut(path);
      else await symlink(Buffer.from(target, 'latin1'), this.#at(path));
    }
    return { entries: this.#entries, bytes: this.#bytes, leftOut: this.#leftOut };
  }

  /** The path below the destination, empty for what is dropped. */
  #place(path: string): string {
    return pathInside(path)
      .split('/')
      .slice(this.#options.strip ?? 0)
      .join('/');
  }

  async #directory(path: string): Promise<void> {
    if (this.#directories.has(path)) return;
    await this.#directory(parentOf(path));
    await this.#clear(path);
    await mkdir(this.#at(path), 0o755);
    this.#directories.add(path);
  }

  async #file(path: string, entry: ReadEntry): Promise<void> {
    if (this.#bytes + entry.size > this.#limits.bytes) throw refuse('too-many-bytes', path);
    this.#bytes += entry.size;
    await this.#makeRoom(path);
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    await using file = await open(this.#at(path), flags, 0o600);
    for await (const part of entry.body) {
      this.#options.signal?.throwIfAborted();
      for (let at = 0; at < part.length;) at += (await file.write(part, at)).bytesWritten;
    }
    await file.chmod((entry.mode & 0o777) | 0o600);
  }

  async #hardlink(path: string, entry: ReadEntry): Promise<void> {
    const target = this.#place(entry.link);
    if (target === path) return;
    if (this.#options.skip?.(target) === true) return this.#leaveOut(path);
    const pointsAt = this.#symlinks.get(target);
    if (pointsAt !== undefined) return this.#remember(path, pointsAt);
    if ((await this.#stats(target))?.isFile() !== true) throw refuse('link-broken', path);
    await this.#makeRoom(path);
    await link(this.#at(target), this.#at(path));
  }

  async #remember(path: string, target: string): Promise<void> {
    if (target === '' || target.includes('\0') || target.length > 4095) throw refuse('path-unusable', path);
    if (this.#options.symlinks !== 'any' && !staysInside(path, target)) throw refuse('link-outside', path);
    await this.#makeRoom(path);
    this.#symlinks.set(path, target);
  }

  async #makeRoom(path: string): Promise<void> {
    await this.#directory(parentOf(path));
    await this.#clear(path);
  }

  /** Removes what an earlier entry put at `path`: the last one counts. */
  async #clear(path: string): Promise<void> {
    this.#symlinks.delete(path);
    const stats = await this.#stats(path);
    // A directory that becomes something else later in the same archive is nothing that a program writes.
    if (stats?.isDirectory() === true) throw refuse('malformed', path);
    if (stats !== undefined) await rm(this.#at(path));
  }

  #leaveOut(path: string): void {
    if (this.#leftOut.length < namedLimit) this.#leftOut.push(path);
  }

  #stats(path: string): Promise<Stats | undefined> {
    return lstat(this.#at(path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw error;
    });
  }

  #at(path: string): Buffer {
    return Buffer.concat([this.#root, Buffer.from(path, 'latin1')]);
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}
