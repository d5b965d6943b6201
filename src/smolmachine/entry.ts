import * as v from 'valibot';
import { Digest, hexOf } from '../oci/digest.ts';
import { count, ifFits, int } from '../schema.ts';

/** What an entry of the cache is: an artifact for smolvm, or a flattened OCI image layout directory. */
export const EntryForm = v.picklist(['smolmachine', 'oci']);
export type EntryForm = v.InferOutput<typeof EntryForm>;

/** The first 16 hex characters of an image id. */
export type CacheKey = string;

const keyPattern = /^[0-9a-f]{16}$/;
export const recordVersion = 1;

/** The key under which everything made from an image is cached. */
export function keyOf(imageId: Digest): CacheKey {
  return hexOf(imageId).slice(0, 16);
}

export function isCacheKey(text: string): boolean {
  return keyPattern.test(text);
}

/** A time in ISO 8601, in UTC. */
const instant = v.pipe(v.string(), v.isoTimestamp(), v.endsWith('Z'));

/** What the cache knows of one entry: the content of `<key>.json`. Times are ISO 8601, sizes bytes. */
export const EntryRecord = v.object({
  version: v.literal(recordVersion),
  form: EntryForm,
  key: v.pipe(v.string(), v.regex(keyPattern)),
  image: v.object({ id: Digest, reference: v.string() }),
  configDigest: Digest,
  manifestDigest: v.exactOptional(Digest),
  /** Of the one flattened layer; absent when smolvm merged the image's own layers. */
  layerDigest: v.exactOptional(Digest),
  /** The layers in the store that the entry was made of, bottom first. */
  layers: v.array(Digest),
  platform: v.string(),
  smolvmVersion: v.exactOptional(v.string()),
  feeder: v.exactOptional(v.picklist(['known', 'push', 'save', 'export'])),
  sizes: v.object({
    /** The `.smolmachine` file, or all files of the layout. */
    artifact: count,
    /** The flattened, plain tar of the image. */
    image: v.exactOptional(count),
  }),
  /** Of the whole `.smolmachine` file. */
  sha256: v.exactOptional(Digest),
  created: instant,
  /** At the time of writing; the record's own mtime is moved at every hit and counts when it is later. */
  lastUsed: instant,
});
export type EntryRecord = Readonly<v.InferOutput<typeof EntryRecord>>;

/** A record as the maker of an entry knows it; the cache adds the rest. */
export type NewEntry = Omit<EntryRecord, 'version' | 'form' | 'key' | 'created' | 'lastUsed' | 'sizes'> & {
  readonly sizes?: { readonly image?: number };
};

/** One entry: where it is, and its record with `lastUsed` as of now. */
export interface CacheEntry {
  /** The `.smolmachine` file or the layout directory. */
  readonly path: string;
  readonly record: EntryRecord;
}

const NewerRecord = v.object({ version: v.pipe(int, v.gtValue(recordVersion)) });

/** Parses a record's text: `newer` when a later release wrote it, whose entry is not ours to judge; `undefined` when it is none. */
export function parseRecord(text: string): EntryRecord | 'newer' | undefined {
  try {
    const json: unknown = JSON.parse(text);
    return ifFits(NewerRecord, json) !== undefined ? 'newer' : ifFits(EntryRecord, json);
  } catch {
    return undefined;
  }
}
