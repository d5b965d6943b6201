/** A file to place in the home of the bottle's user, who owns it and the directories on the way to it. */
export interface HomeFile {
  /** Relative to the home, with `/`, without `.` and `..`. */
  readonly path: string;
  /** Permission bits, never more than 0o777. */
  readonly mode: number;
  readonly content: string | Buffer;
}
