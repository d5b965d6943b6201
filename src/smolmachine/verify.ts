import { rm } from 'node:fs/promises';
import type { Digest } from '../oci/digest.ts';
import { LayerMissing } from '../oci/errors.ts';
import { verifyArtifact } from './artifact-verify.ts';
import type { Cache } from './cache.ts';
import { type CacheKey, type EntryForm, type EntryRecord, parseRecord } from './entry.ts';
import { whyUnfit } from './entry-check.ts';
import { verifyLayoutBlobs } from './entry-layout.ts';
import { tryLock } from './prune.ts';

/** The side of the layer store that verifying needs. */
export interface VerifiableLayers {
  list(): Promise<readonly { readonly diffId: Digest; readonly bytes: number }[]>;
  /** @throws LayerMissing, or the reason of `signal`. */
  verify(diffId: Digest, signal?: AbortSignal): Promise<'ok' | 'damaged'>;
  remove(diffId: Digest): Promise<void>;
}

export interface VerifyOptions {
  /** Removes what is damaged; by default it is only told of. */
  readonly fix?: boolean;
  /** Also decompresses every artifact. */
  readonly deep?: boolean;
  /** Called with the number of bytes read since the last call. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

export type VerifyResult = {
  /** `orphan`: files without a record, left by a killed run. They are never a hit. */
  readonly state: 'ok' | 'damaged' | 'orphan';
  /** What is wrong; absent when `ok`. */
  readonly reason?: string;
  readonly removed: boolean;
  readonly bytes: number;
} & (
  | { readonly kind: EntryForm; readonly key: CacheKey; readonly path: string }
  | { readonly kind: 'layer'; readonly diffId: Digest }
);

/**
 * Reads every byte of the cache and yields one result per entry and per stored layer, as it gets to know them: size,
 * footer, CRC-32, SHA-256 and metadata of artifacts; every blob's digest of layouts; every layer against its digest.
 * What another process replaces or removes meanwhile is looked at again or left out, and is never reported as damage;
 * what a later release made is left out too. `fix` removes nothing that somebody may be using.
 * @throws CacheUnusable, or the reason of `signal`.
 */
export async function* verifyCache(
  cache: Cache,
  layers: VerifiableLayers,
  options: VerifyOptions = {},
): AsyncGenerator<VerifyResult> {
  for (const { form, key } of await cache.scan()) {
    options.signal?.throwIfAborted();
    const result = await verifyEntry(cache, form, key, options);
    if (result !== undefined) yield result;
  }
  for (const { diffId, bytes } of await layers.list()) {
    options.signal?.throwIfAborted();
    const state = await verifyLayer(layers, diffId, options.signal);
    if (state === undefined) continue;
    options.onBytes?.(bytes);
    const removed =
      state === 'damaged' &&
      options.fix === true &&
      (await removeDamagedLayer(cache, layers, diffId, options));
    yield {
      kind: 'layer',
      diffId,
      bytes,
      state,
      ...(state === 'damaged' && { reason: 'its bytes have another digest' }),
      removed,
    };
  }
}

/** `undefined` for a layer that somebody removed meanwhile. */
async function verifyLayer(
  layers: VerifiableLayers,
  diffId: Digest,
  signal: AbortSignal | undefined,
): Promise<'ok' | 'damaged' | undefined> {
  return layers.verify(diffId, signal).catch((error: unknown) => {
    if (error instanceof LayerMissing) return undefined;
    throw error;
  });
}

/** Removes a damaged layer, unless a run may be using it or has brought a sound one in its place. */
async function removeDamagedLayer(
  cache: Cache,
  layers: VerifiableLayers,
  diffId: Digest,
  { signal }: VerifyOptions,
): Promise<boolean> {
  await using _lock = await cache.lockLayers(signal);
  if (await cache.layersInUse()) return false;
  if ((await verifyLayer(layers, diffId, signal)) !== 'damaged') return false;
  await layers.remove(diffId);
  return true;
}

async function verifyEntry(
  cache: Cache,
  form: EntryForm,
  key: CacheKey,
  options: VerifyOptions,
): Promise<VerifyResult | undefined> {
  const what = { kind: form, key, path: cache.entryPath(form, key) };
  for (;;) {
    const text = await cache.recordText(form, key);
    if (text === undefined) {
      // Without a record the files are an orphan, or somebody is publishing or removing them right now.
      await using lock = await tryLock(cache, key);
      if (lock === undefined || (await cache.recordText(form, key)) !== undefined) return undefined;
      const files = await cache.filesOf(form, key);
      if (files.length === 0) return undefined;
      const removed = options.fix === true && !(await cache.isHeld(key));
      if (removed) await Promise.all(files.map((path) => rm(path, { recursive: true, force: true })));
      return { ...what, bytes: 0, state: 'orphan', reason: 'it has no record', removed };
    }
    const record = parseRecord(text);
    if (record === 'newer') return undefined;
    const reason =
      record === undefined ? 'its record cannot be read' : await damageOf(cache, form, key, record, options);
    const bytes = record?.sizes.artifact ?? 0;
    if ((await cache.recordText(form, key)) !== text) continue;
    if (reason === undefined) return { ...what, bytes, state: 'ok', removed: false };
    return { ...what, bytes, state: 'damaged', reason, removed: await fix(cache, form, key, text, options) };
  }
}

async function damageOf(
  cache: Cache,
  form: EntryForm,
  key: CacheKey,
  record: EntryRecord,
  options: VerifyOptions,
): Promise<string | undefined> {
  const path = cache.entryPath(form, key);
  const cheap = await cache.unfit(form, key, record);
  if (cheap !== undefined) return cheap;
  const { onBytes, signal } = options;
  const watch = { ...(onBytes && { onBytes }), ...(signal && { signal }) };
  try {
    if (form === 'oci') {
      const { manifestDigest, configDigest } = record;
      if (manifestDigest === undefined) return 'its record has no manifest digest';
      return await verifyLayoutBlobs(path, { manifestDigest, configDigest }, watch);
    }
    const { sha256, platform, configDigest } = record;
    if (sha256 === undefined) return 'its record has no sha256';
    const expected = { platform, imageDigest: configDigest };
    await verifyArtifact(path, { ...watch, expected, sha256, deep: options.deep === true });
    return undefined;
  } catch (error) {
    const reason = whyUnfit(error);
    if (reason === undefined) throw error;
    return reason;
  }
}

/** Removes a damaged entry, unless it is in use or is not the one any more that was looked at. */
async function fix(
  cache: Cache,
  form: EntryForm,
  key: CacheKey,
  text: string,
  options: VerifyOptions,
): Promise<boolean> {
  if (options.fix !== true) return false;
  await using lock = await tryLock(cache, key);
  if (lock === undefined || (await cache.recordText(form, key)) !== text) return false;
  return await cache.discardUnlessHeld(form, key);
}
