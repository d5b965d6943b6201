import * as v from 'valibot';

/** A content digest as OCI writes it; SHA-256 is the only algorithm in use (image-spec, descriptor.md §Digests). */
export type Digest = `sha256:${string}`;

const pattern = /^sha256:[0-9a-f]{64}$/;

export const Digest = v.custom<Digest>(
  (value) => typeof value === 'string' && pattern.test(value),
  'not a sha256 digest',
);

export function isDigest(text: string): text is Digest {
  return pattern.test(text);
}

/** The 64 hex characters after the colon. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}
