import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Cache } from '../../src/smolmachine/cache.ts';
import { keyOf } from '../../src/smolmachine/entry.ts';
import { prune } from '../../src/smolmachine/prune.ts';
import { sha256Of } from './artifact-file.ts';
import { digestOf, publishArtifact, publishLayout, ShelfOfLayers } from './entries.ts';

/** The images that everybody in the crowd works on. */
export const crowdImages = ['one', 'two', 'three'];

export interface Tally {
  hits: number;
  misses: number;
  /** Each is a broken promise, in words. */
  readonly wrong: string[];
}

/** Looks an image up in both forms and holds every hit against what it promises. */
export async function inspectImage(cache: Cache, name: string, tally: Tally): Promise<void> {
  const key = keyOf(digestOf(name));
  await using _held = await cache.hold(key);
  for (const form of ['smolmachine', 'oci'] as const) {
    const found = await cache.lookup(form, key, { imageId: digestOf(name) });
    if (found.state === 'miss') tally.misses += 1;
    else if (found.state === 'damaged') tally.wrong.push(`${form} ${name}: ${found.reason}`);
    else if (form === 'oci') tally.hits += 1;
    else {
      tally.hits += 1;
      const { record, path } = found.entry;
      const bytes = await readFile(path).catch(() => Buffer.alloc(0));
      if (record.configDigest !== digestOf(`${name} config`)) tally.wrong.push(`${name}: another image`);
      if (sha256Of(bytes) === record.sha256) continue;
      // Only a replacement by another whole one, since the look-up, explains other bytes.
      const now = await cache.record(form, key);
      if (now !== 'newer' && now?.sha256 === record.sha256)
        tally.wrong.push(`${name}: ${bytes.length} other bytes`);
    }
  }
}

/** Publishes an image anew in both forms, with bytes that were never there before. */
export async function makeImage(cache: Cache, name: string): Promise<void> {
  const data = randomBytes(Math.floor(Math.random() * 200_000));
  const artifact = { members: [{ path: 'agent-rootfs.tar', data }] };
  await publishArtifact(cache, name, { artifact, config: digestOf(`${name} config`) });
  await publishLayout(cache, name, data);
}

/** Does one thing or another at random. */
export async function act(cache: Cache, tally: Tally): Promise<void> {
  const name = crowdImages[Math.floor(Math.random() * crowdImages.length)] ?? '';
  const key = keyOf(digestOf(name));
  const dice = Math.random();
  if (dice < 0.5) return inspectImage(cache, name, tally);
  if (dice < 0.7) return makeImage(cache, name);
  if (dice < 0.85) {
    await prune(cache, new ShelfOfLayers({}), Math.random() < 0.5 ? { all: true } : { keep: 2 });
    return;
  }
  await using _lock = await cache.lock(key);
  await cache.discardUnlessHeld('smolmachine', key);
}
