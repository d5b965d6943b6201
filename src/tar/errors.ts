import { failure } from '../failure.ts';

/** An archive from outside holds something that no honest program writes, or more of it than is taken. Nothing of it is used. */
export class ArchiveRefused extends failure('ArchiveRefused')<{
  reason:
    | 'malformed'
    | 'truncated'
    | 'path-absolute'
    | 'path-climbs'
    | 'path-unusable'
    | 'path-too-long'
    | 'link-outside'
    | 'link-broken'
    | 'too-many-entries'
    | 'too-many-bytes'
    | 'header-too-large'
    | 'sparse';
  /** Where in the archive: the entry's path, control characters escaped, shortened. Empty when there is none. */
  path: string;
}> {}

export type TarFailure = ArchiveRefused;
