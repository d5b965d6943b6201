/** The releases that the double plays. */
const releases = ['0.8.0', '1.0.2', '1.5.0', '1.7.0', '1.8.1', '1.9.3'] as const;

/** What differs between them, each row read in smolvm's source at the release's tag. */
export interface Release {
  readonly version: string;
  /** Whether the release is at least the given one. */
  since(version: string): boolean;
}

/** The release that `FAKE_SMOLVM_VERSION` names; v1.9.3 without it. */
export function chosenRelease(): Release {
  const version = process.env.FAKE_SMOLVM_VERSION ?? '1.9.3';
  if (!releases.some((known) => known === version)) {
    throw new NotPartOfDouble(`version ${version} (it plays ${releases.join(', ')})`);
  }
  return { version, since: (other) => compare(version, other) >= 0 };
}

function compare(a: string, b: string): number {
  const [left, right] = [a.split('.').map(Number), b.split('.').map(Number)];
  return [0, 1, 2].map((at) => (left[at] ?? 0) - (right[at] ?? 0)).find((order) => order !== 0) ?? 0;
}

/** What the real program can do and the double does not. */
export class NotPartOfDouble extends Error {}

/** An error of smolvm's own: printed as `Error: MESSAGE`, exit status 1. */
export class SmolvmError extends Error {
  /** The form of nearly all of them (src/data/errors.rs). */
  static agent(operation: string, reason: string): SmolvmError {
    return new SmolvmError(`agent operation failed: ${operation}: ${reason}`);
  }
}

/** Rust's words for an errno, as smolvm passes them on. */
export function rustWords(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  const known: Readonly<Record<string, string>> = {
    ENOSPC: 'No space left on device (os error 28)',
    EDQUOT: 'Disk quota exceeded (os error 122)',
    ENOENT: 'No such file or directory (os error 2)',
    EACCES: 'Permission denied (os error 13)',
    EISDIR: 'Is a directory (os error 21)',
    ENOTDIR: 'Not a directory (os error 20)',
    EROFS: 'Read-only file system (os error 30)',
  };
  return known[code ?? ''] ?? (error instanceof Error ? error.message : String(error));
}
