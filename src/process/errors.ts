import { failure } from '../failure.ts';

/** The program is not on the PATH, or the given path is no program. */
export class CommandMissing extends failure('CommandMissing')<{ command: string }> {}

/** A child ran longer than its deadline and was killed with its whole process group. */
export class DeadlineExceeded extends failure('DeadlineExceeded')<{ command: string; deadlineMs: number }> {}

/** The user or the system asked us to stop. */
export class Interrupted extends failure('Interrupted')<{ signal: string }> {}

/** Another live process holds a lock for longer than we were willing to wait. */
export class LockBusy extends failure('LockBusy')<{ path: string; pid: number; waitedMs: number }> {}

/** Something that is no lock lies where a lock belongs. */
export class NotALock extends failure('NotALock')<{ path: string }> {}

export type ProcessFailure = CommandMissing | DeadlineExceeded | Interrupted | LockBusy | NotALock;
