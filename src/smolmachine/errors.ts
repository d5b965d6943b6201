import { failure } from '../failure.ts';

/** What is wrong with an artifact; `detail` of the failure carries the numbers. */
export type ArtifactDamage =
  | 'missing'
  | 'not-a-file'
  | 'too-short'
  | 'no-footer'
  | 'unknown-version'
  | 'not-a-sidecar'
  | 'sizes'
  | 'manifest'
  | 'crc32'
  | 'sha256'
  | 'assets';

/** A file is no whole, undamaged `.smolmachine`. */
export class ArtifactDamaged extends failure('ArtifactDamaged')<{
  path: string;
  reason: ArtifactDamage;
  /** What was found and what was expected, in a few words. */
  detail: string;
}> {}

/** A whole artifact was made for another platform or from another image than the one asked for. */
export class ArtifactMismatch extends failure('ArtifactMismatch')<{
  path: string;
  what: 'platform' | 'image';
  expected: string;
  found: string;
}> {}

/** An image is for another platform than this host, so no microVM here could run it. */
export class PlatformMismatch extends failure('PlatformMismatch')<{
  reference: string;
  /** `os/architecture`. */
  image: string;
  host: string;
}> {}

/** The cache directory cannot be used as one. */
export class CacheUnusable extends failure('CacheUnusable')<{
  path: string;
  /** `not-yours`: it belongs to another user, or others may write to it. */
  reason: 'not-a-directory' | 'read-only' | 'no-permission' | 'io-error' | 'not-yours';
  /** The system's error code, such as EROFS; for `not-yours` the owner and the mode. */
  code: string;
}> {}

/** A file system has less room than the work ahead needs, or ran full during it. */
export class NoSpace extends failure('NoSpace')<{
  path: string;
  /** What was to be written, as a noun: `image layers`, `artifact`. */
  what: string;
  /** Bytes the work needs; absent when the disk ran full unforeseen. */
  neededBytes?: number;
  availableBytes: number;
}> {}

/** What was prepared for the cache is not what its record says, so it was not published. */
export class EntryRefused extends failure('EntryRefused')<{
  path: string;
  key: string;
  reason: string;
}> {}

/** An entry was removed or replaced before it could be copied out of the cache, or what was copied is not the whole of it. */
export class EntryChanged extends failure('EntryChanged')<{
  path: string;
  key: string;
  reason: string;
}> {}

export type SmolmachineFailure =
  | ArtifactDamaged
  | ArtifactMismatch
  | PlatformMismatch
  | CacheUnusable
  | NoSpace
  | EntryRefused
  | EntryChanged;
