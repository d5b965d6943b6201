import { failure } from '../failure.ts';
import type { Digest } from './digest.ts';

/** The store has no layer with that diff id. */
export class LayerMissing extends failure('LayerMissing')<{ diffId: Digest }> {}

/** A stored layer is not what its name says any more: the file was cut, changed or is unreadable. */
export class LayerDamaged extends failure('LayerDamaged')<{ diffId: Digest; path: string; reason: string }> {}

/** Bytes arrived whose digest is not the announced one; `blob` is what was sent, `layer` what was inside. */
export class DigestMismatch extends failure('DigestMismatch')<{
  subject: 'blob' | 'layer';
  expected: Digest;
  actual: Digest;
}> {}

/** More or fewer bytes arrived than were announced; `actual` is a lower bound when we stopped listening. */
export class SizeMismatch extends failure('SizeMismatch')<{ expected: number; actual: number }> {}

/** A compressed layer unpacks to more than anything honest does. Both figures in bytes. */
export class LayerInflates extends failure('LayerInflates')<{ received: number; limit: number }> {}

/** A compressed layer cannot be unpacked: cut short, or no valid stream. */
export class LayerUndecodable extends failure('LayerUndecodable')<{
  format: 'gzip' | 'zstd';
  reason: string;
}> {}

/** A layer is no well-formed tar archive; `offset` is the byte of the archive at which that shows. */
export class TarMalformed extends failure('TarMalformed')<{ reason: string; offset: number }> {}

/** A layer uses a tar feature that cannot be carried over truthfully. */
export class TarUnsupported extends failure('TarUnsupported')<{ feature: string; path: string }> {}

/** An entry of a layer points outside of the image's root. */
export class PathEscapes extends failure('PathEscapes')<{ path: string }> {}

/** A path, a link's target or one part of a path is longer than Linux takes. `bytes` is its length. */
export class PathTooLong extends failure('PathTooLong')<{ path: string; bytes: number; limit: number }> {}

/** The directories and names that the entries of an image imply take more room than all its layers do. In bytes. */
export class PathsSprawl extends failure('PathsSprawl')<{ path: string; limit: number }> {}

/** Symbolic links on the way to an entry lead round in a circle. */
export class SymlinkLoop extends failure('SymlinkLoop')<{ path: string }> {}

/** A hard link names something that cannot be linked to. */
export class HardlinkBroken extends failure('HardlinkBroken')<{
  path: string;
  target: string;
  reason: 'missing' | 'directory';
}> {}

/** An image configuration is no JSON, or lacks what every image has. */
export class ConfigUnreadable extends failure('ConfigUnreadable')<{ reason: string }> {}

/** An OCI layout on disk is incomplete or was changed. */
export class LayoutDamaged extends failure('LayoutDamaged')<{ path: string; reason: string }> {}

export type OciFailure =
  | LayerMissing
  | LayerDamaged
  | DigestMismatch
  | SizeMismatch
  | LayerInflates
  | LayerUndecodable
  | TarMalformed
  | TarUnsupported
  | PathEscapes
  | PathTooLong
  | PathsSprawl
  | SymlinkLoop
  | HardlinkBroken
  | ConfigUnreadable
  | LayoutDamaged;
