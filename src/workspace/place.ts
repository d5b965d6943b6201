import type { Readable } from 'node:stream';

export interface PlaceResult {
  /** 126 and 127 as a shell has them: no such program. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface PlaceStream extends AsyncDisposable {
  readonly stdout: Readable;
  /** Settles when it is gone; rejects for no exit status. */
  readonly done: Promise<PlaceResult>;
}

export interface PlaceOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Where work is collected from: a bottle, as far as this layer needs one. Whatever it answers is hostile. */
export interface Place {
  /** Runs a program as the bottle's user. */
  exec(argv: readonly string[], options?: PlaceOptions): Promise<PlaceResult>;
  stream(argv: readonly string[], options?: PlaceOptions): PlaceStream;
  /** The tar of a directory, under its own name. */
  copyOut(path: string, signal?: AbortSignal): Promise<PlaceStream>;
}
