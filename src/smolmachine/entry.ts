import { z } from 'zod';
import { Digest, hexOf } from '../oci/digest.ts';

/** What an entry of the cache is: an artifact for smolvm, or a flattened OCI image layout directory. */
export const EntryForm = z.enum(['smolmachine', 'oci']);
export type EntryForm = z.infer<typeof EntryForm>;

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

/** What the cache knows of one entry: the content of `<key>.json`. Times are ISO 8601, sizes bytes. */
export const EntryRecord = z.object({
  version: z.literal(recordVersion),
  form: EntryForm,
  key: z.string().regex(keyPattern),
  image: z.object({ id: Digest, reference: z.string() }),
  configDigest: Digest,
  manifestDigest: Digest.exactOptional(),
  /** Of the one flattened layer; absent when smolvm merged the image's own layers. */
  layerDigest: Digest.exactOptional(),
  /** The layers in the store that the entry was made of, bottom first. */
  layers: z.array(Digest),
  platform: z.string(),
  smolvmVersion: z.string().exactOptional(),
  feeder: z.enum(['known', 'push', 'save', 'export']).exactOptional(),
  sizes: z.object({
    /** The `.smolmachine` file, or all files of the layout. */
    artifact: z.number().int().nonnegative(),
    /** The flattened, plain tar of the image. */
    image: z.number().int().nonnegative().exactOptional(),
  }),
  /** Of the whole `.smolmachine` file. */
  sha256: Digest.exactOptional(),
  created: z.iso.datetime(),
  /** At the time of writing; the record's own mtime is moved at every hit and counts when it is later. */
  lastUsed: z.iso.datetime(),
});
export type EntryRecord = Readonly<z.infer<typeof EntryRecord>>;

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

const NewerRecord = z.object({ version: z.number().int().gt(recordVersion) });

/** Parses a record's text: `newer` when a later release wrote it, whose entry is not ours to judge; `undefined` when it is none. */
export function parseRecord(text: string): EntryRecord | 'newer' | undefined {
  try {
    const json: unknown = JSON.parse(text);
    return NewerRecord.safeParse(json).success ? 'newer' : EntryRecord.safeParse(json).data;
  } catch {
    return undefined;
  }
}
