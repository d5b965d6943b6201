import { readArtifact } from './artifact.ts';
import type { EntryRecord } from './entry.ts';
import { checkLayout } from './entry-layout.ts';
import { ArtifactDamaged, ArtifactMismatch } from './errors.ts';

/**
 * Holds the file or directory at `path` against a record by the cheap checks: exact size, footer and manifest of an
 * artifact; manifest and blob sizes of a layout.
 * @returns what is wrong, or `undefined`.
 * @throws the system's error when `path` cannot be read, rather than being wrong.
 */
export async function checkEntry(record: EntryRecord, path: string): Promise<string | undefined> {
  const { configDigest, manifestDigest, platform, sizes } = record;
  if (record.form === 'oci') {
    if (manifestDigest === undefined) return 'its record has no manifest digest';
    return checkLayout(path, { manifestDigest, configDigest });
  }
  if (record.sha256 === undefined) return 'its record has no sha256';
  try {
    const { size } = await readArtifact(path, { platform, imageDigest: configDigest });
    return size === sizes.artifact ? undefined : `${size} bytes instead of ${sizes.artifact}`;
  } catch (error) {
    const reason = whyUnfit(error);
    if (reason === undefined) throw error;
    return reason;
  }
}

/** The words of an error that speaks of the entry itself, rather than of the way to it. */
export function whyUnfit(error: unknown): string | undefined {
  if (error instanceof ArtifactDamaged) return `${error.fields.reason}: ${error.fields.detail}`;
  if (error instanceof ArtifactMismatch) {
    const { what, found, expected } = error.fields;
    return `its ${what} is ${found} instead of ${expected}`;
  }
  return (error as NodeJS.ErrnoException).code === 'EIO' ? 'it cannot be read: EIO' : undefined;
}
