import { randomBytes } from 'node:crypto';
import { readdir, readFile, rename, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Digest } from '../oci/digest.ts';
import { acquireLock, isLocked, type LockOptions } from '../process/lock.ts';
import { hasLiveOwners, Scratch } from '../process/scratch.ts';
import { hiddenRecord, putInPlace, takeAway } from './cache-publish.ts';
import { asCacheFailure, type CacheTree, openTree } from './cache-tree.ts';
import {
  type CacheEntry,
  type CacheKey,
  type EntryForm,
  type EntryRecord,
  isCacheKey,
  type NewEntry,
  parseRecord,
  recordVersion,
} from './entry.ts';
import { checkEntry } from './entry-check.ts';
import { layoutBytes } from './entry-layout.ts';
import { EntryRefused } from './errors.ts';

export type Lookup =
  | { readonly state: 'hit'; readonly entry: CacheEntry }
  | { readonly state: 'miss' }
  | { readonly state: 'damaged'; readonly reason: string };

/** What a scan of the cache finds under one key and form. */
export type Found =
  | { readonly state: 'entry'; readonly form: EntryForm; readonly key: CacheKey; readonly entry: CacheEntry }
  /** What a later release keeps there. It is left alone. */
  | { readonly state: 'newer'; readonly form: EntryForm; readonly key: CacheKey }
  /** A record that cannot be read, or files without one. */
  | { readonly state: 'orphan'; readonly form: EntryForm; readonly key: CacheKey };

/** What a look-up wants beyond the key. */
export interface Expected {
  readonly imageId?: Digest;
  readonly platform?: string;
  /** Made of one flattened layer: where smolvm merged layers itself, deleted files may be back. */
  readonly flat?: boolean;
}

export interface CacheOptions {
  readonly now?: () => Date;
}

const pollMs = 25;

/**
 * What was made from images, by image id: artifacts and layouts, each with a record beside it. An entry exists when
 * its record does. Safe for any number of processes at once; a process killed at any point leaves an entry whole or
 * absent.
 */
export class Cache {
  readonly tree: CacheTree;
  readonly #now: () => Date;

  private constructor(tree: CacheTree, now: () => Date) {
    this.tree = tree;
    this.#now = now;
  }

  /**
   * Opens the cache below `root` and creates what is missing of it (mode 0700). One that exists on a read-only file
   * system opens and answers look-ups; what has to write throws then.
   * @throws CacheUnusable, NoSpace.
   */
  static async open(root: string, options: CacheOptions = {}): Promise<Cache> {
    return new Cache(await openTree(root), options.now ?? (() => new Date()));
  }

  /**
   * A scratch directory on the cache's file system. It marks this process as one that may be using stored layers: from
   * its creation on, no prune removes any, and one that is removing some right now is waited for.
   * @throws CacheUnusable, NoSpace, or the reason of `signal`.
   */
  async scratch(options: { readonly signal?: AbortSignal } = {}): Promise<Scratch> {
    const scratch = await this.#writing(this.tree.scratchRoot, () => Scratch.create(this.tree.scratchRoot));
    try {
      while (await isLocked(this.#layersLock)) {
        options.signal?.throwIfAborted();
        await sleep(pollMs);
      }
      return scratch;
    } catch (error) {
      await scratch[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Makes this process the only one that may change the entries of `key`: publish, prune, or mend them. Others wait,
   * and `onWait` tells whom for.
   * @throws LockBusy after `waitMs`, NotALock, CacheUnusable, NoSpace, or the reason of `signal`.
   */
  lock(key: CacheKey, options: LockOptions = {}): Promise<AsyncDisposable> {
    return this.#writing(this.tree.locksRoot, () => acquireLock(this.#lockPath(key), options));
  }

  /**
   * Keeps prune away from the entries of `key` until disposal; any number of processes may. Take it before the look-up
   * whose path is to be used. It does not keep a maker from publishing anew: whoever must read one and the same entry
   * to its end takes the lock. On a cache that cannot be written to there is nothing to fear, and nothing is done.
   * @throws NotALock, CacheUnusable, NoSpace.
   */
  async hold(key: CacheKey): Promise<AsyncDisposable> {
    const path = join(this.tree.locksRoot, `${checked(key)}.hold.${randomBytes(6).toString('hex')}`);
    return acquireLock(path).catch(async (error: NodeJS.ErrnoException) => {
      if (isRefusal(error)) return { [Symbol.asyncDispose]: async () => undefined };
      throw await asCacheFailure(error, this.tree.locksRoot);
    });
  }

  /** Whether any live process holds `key` against pruning. */
  async isHeld(key: CacheKey): Promise<boolean> {
    for (const name of await readdir(this.tree.locksRoot)) {
      if (name.startsWith(`${key}.hold.`) && (await isLocked(join(this.tree.locksRoot, name)))) return true;
    }
    return false;
  }

  /**
   * Makes this process the only one that may remove stored layers. A run that begins from here on waits for it before it
   * looks at the store; one that began before is told by `layersInUse`.
   * @throws NotALock, CacheUnusable, NoSpace, or the reason of `signal`.
   */
  lockLayers(signal?: AbortSignal): Promise<AsyncDisposable> {
    return this.#writing(this.tree.locksRoot, () =>
      acquireLock(this.#layersLock, signal === undefined ? {} : { signal }),
    );
  }

  /** Whether any run, other than the one that `own` belongs to, may be using stored layers. */
  layersInUse(own?: Scratch): Promise<boolean> {
    return hasLiveOwners(this.tree.scratchRoot, own);
  }

  get #layersLock(): string {
    return join(this.tree.locksRoot, 'layers.lock');
  }

  /**
   * Finds the entry of `key`. A hit has a sound record and passed the cheap checks: exact size, footer and manifest of
   * an artifact; manifest and blob sizes of a layout. So a truncated entry is never a hit. It counts as used now.
   * An entry that is not as `expected`, or that a later release made, is a miss.
   * @throws CacheUnusable when the directory cannot be read.
   */
  async lookup(form: EntryForm, key: CacheKey, expected: Expected = {}): Promise<Lookup> {
    for (;;) {
      const text = await this.recordText(form, key);
      if (text === undefined) return { state: 'miss' };
      const found = await this.#reading(this.entryPath(form, key), () => this.#examine(form, key, text));
      // Whoever replaces an entry removes its record first: the same record before and after means the same files.
      if ((await this.recordText(form, key)) !== text) continue;
      if (found === 'newer') return { state: 'miss' };
      if ('damage' in found) return { state: 'damaged', reason: found.damage };
      if (!isAsExpected(found, expected)) return { state: 'miss' };
      const now = this.#now();
      // Only the order of pruning depends on it, and a read-only cache must still answer.
      await utimes(this.recordPath(form, key), now, now).catch(() => undefined);
      const record = { ...found, lastUsed: now.toISOString() };
      return { state: 'hit', entry: { path: this.entryPath(form, key), record } };
    }
  }

  /**
   * Moves a finished file or directory out of a scratch directory of this cache into its place, for this user alone, on
   * the disk before it counts. What was there is replaced. The caller holds the lock of `key`.
   * @throws EntryRefused when the cheap checks fail, NoSpace, CacheUnusable.
   */
  async publish(form: EntryForm, key: CacheKey, prepared: string, made: NewEntry): Promise<CacheEntry> {
    const at = this.#now();
    const now = at.toISOString();
    const artifact = form === 'oci' ? await layoutBytes(prepared) : (await stat(prepared)).size;
    const sizes = { ...made.sizes, artifact };
    const record: EntryRecord = {
      ...made,
      version: recordVersion,
      form,
      key: checked(key),
      sizes,
      created: now,
      lastUsed: now,
    };
    const recordText = `${JSON.stringify(record, undefined, 2)}\n`;
    const reason =
      parseRecord(recordText) === undefined ? 'its record is wrong' : await checkEntry(record, prepared);
    if (reason !== undefined) throw new EntryRefused({ path: prepared, key, reason });
    const path = this.entryPath(form, key);
    await this.#writing(path, () =>
      putInPlace({ prepared, target: path, record: this.recordPath(form, key), recordText, at }),
    );
    return { path, record };
  }

  /** Removes the entry, record first. The caller holds the lock of `key`. An absent one is no error. */
  async discard(form: EntryForm, key: CacheKey): Promise<void> {
    const path = this.entryPath(form, key);
    await this.#writing(path, () => takeAway(this.recordPath(form, key), path));
  }

  /**
   * Removes the entry unless somebody holds it: the record is hidden first, so that nobody can find the entry after
   * the holders were counted. A record that a killed run left hidden comes back if the entry is held. The caller holds
   * the lock of `key`.
   * @returns whether it is gone.
   */
  async discardUnlessHeld(form: EntryForm, key: CacheKey): Promise<boolean> {
    const record = this.recordPath(form, key);
    const hidden = hiddenRecord(record);
    return this.#writing(record, async () => {
      await rename(record, hidden).catch(ifThere);
      if (await this.isHeld(key)) {
        await rename(hidden, record).catch(ifThere);
        return false;
      }
      await takeAway(record, this.entryPath(form, key));
      return true;
    });
  }

  /** Every entry, most recently used first. Neither checked nor touched. */
  async list(): Promise<CacheEntry[]> {
    const found = await this.scan();
    return found.flatMap((one) => (one.state === 'entry' ? [one.entry] : [])).sort(byLastUsed);
  }

  /** Everything that lies under a key. Files of other names are not ours and are left out. */
  async scan(): Promise<Found[]> {
    const found: Found[] = [];
    for (const form of ['smolmachine', 'oci'] as const) {
      const names = await this.#reading(this.tree.formRoots[form], (path) => readdir(path));
      const keys = new Set(names.map((name) => name.split('.', 1)[0] ?? '').filter(isCacheKey));
      for (const key of [...keys].sort()) {
        const record = await this.record(form, key);
        if (record === undefined) found.push({ state: 'orphan', form, key });
        else if (record === 'newer') found.push({ state: 'newer', form, key });
        else found.push({ state: 'entry', form, key, entry: { path: this.entryPath(form, key), record } });
      }
    }
    return found;
  }

  /** Paths of all that lies under a key in one form: entry, record, and what a killed run left of them. */
  async filesOf(form: EntryForm, key: CacheKey): Promise<string[]> {
    const root = this.tree.formRoots[form];
    const names = await this.#reading(root, (path) => readdir(path));
    return names.filter((name) => name.split('.', 1)[0] === key).map((name) => join(root, name));
  }

  /**
   * The record of an entry, with the time of its last use; `newer` when a later release wrote it, `undefined` when it is
   * absent or unreadable.
   */
  async record(form: EntryForm, key: CacheKey): Promise<EntryRecord | 'newer' | undefined> {
    const path = this.recordPath(form, key);
    const text = await this.recordText(form, key);
    const record = text === undefined ? undefined : parseRecord(text);
    if (record === 'newer') return record;
    const touched = await stat(path).then(
      (stats) => stats.mtime,
      () => undefined,
    );
    if (record === undefined || touched === undefined) return undefined;
    const lastUsed = new Date(Math.max(touched.getTime(), Date.parse(record.lastUsed)));
    return { ...record, lastUsed: lastUsed.toISOString() };
  }

  /** The text of a record as it is, to tell one publication of an entry from the next. */
  recordText(form: EntryForm, key: CacheKey): Promise<string | undefined> {
    return this.#reading(this.recordPath(form, key), (path) =>
      readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      }),
    );
  }

  /** Why the files of an entry are not what `record` says, by the cheap checks; `undefined` when they are. */
  async unfit(form: EntryForm, key: CacheKey, record: EntryRecord): Promise<string | undefined> {
    if (record.form !== form || record.key !== key) return 'its record is of another entry';
    return checkEntry(record, this.entryPath(form, key));
  }

  entryPath(form: EntryForm, key: CacheKey): string {
    const name = form === 'oci' ? checked(key) : `${checked(key)}.smolmachine`;
    return join(this.tree.formRoots[form], name);
  }

  recordPath(form: EntryForm, key: CacheKey): string {
    return join(this.tree.formRoots[form], `${checked(key)}.json`);
  }

  /** Whether a live process is changing the entries of `key`. */
  isLocked(key: CacheKey): Promise<boolean> {
    return isLocked(this.#lockPath(key));
  }

  #lockPath(key: CacheKey): string {
    return join(this.tree.locksRoot, `${checked(key)}.lock`);
  }

  async #examine(
    form: EntryForm,
    key: CacheKey,
    text: string,
  ): Promise<EntryRecord | 'newer' | { readonly damage: string }> {
    const record = parseRecord(text);
    if (record === 'newer') return record;
    if (record === undefined) return { damage: 'its record cannot be read' };
    const damage = await this.unfit(form, key, record);
    return damage === undefined ? record : { damage };
  }

  async #reading<Result>(path: string, work: (path: string) => Promise<Result>): Promise<Result> {
    return this.#writing(path, () => work(path));
  }

  async #writing<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      throw await asCacheFailure(error, path);
    }
  }
}

function isAsExpected(record: EntryRecord, { imageId, platform, flat }: Expected): boolean {
  return (
    (imageId === undefined || imageId === record.image.id) &&
    (platform === undefined || platform === record.platform) &&
    (flat !== true || record.layerDigest !== undefined)
  );
}

function byLastUsed(a: CacheEntry, b: CacheEntry): number {
  return b.record.lastUsed.localeCompare(a.record.lastUsed) || a.path.localeCompare(b.path);
}

/** For a file that need not be there. */
function ifThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

function isRefusal(error: NodeJS.ErrnoException): boolean {
  return ['EROFS', 'EACCES', 'EPERM'].includes(error.code ?? '');
}

/** A key becomes part of a path, so nothing but a key may pass. */
function checked(key: CacheKey): CacheKey {
  if (!isCacheKey(key)) throw new TypeError(`not a cache key: ${key}`);
  return key;
}
