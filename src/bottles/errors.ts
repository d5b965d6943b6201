import { failure } from '../failure.ts';

/** Records or sockets of bottles cannot be kept where they belong. `not-yours`: others own it or may write to it. */
export class StateUnusable extends failure('StateUnusable')<{ path: string; reason: string }> {}

/** The socket on which bottle-init is awaited cannot be made. */
export class ControlSocketUnusable extends failure('ControlSocketUnusable')<{ path: string; code: string }> {}

/** The first process of a bottle is not there, or cannot be run; `fix` is the command that brings it. */
export class InitMissing extends failure('InitMissing')<{ path: string; fix: string }> {}

/** bottle-init went away, or said nothing in time, before it was ready: the bottle never ran its command. */
export class InitSilent extends failure('InitSilent')<{
  /** What the bottle printed, the last lines. */
  words?: string;
}> {}

/** The bottle's command cannot be executed in its image. */
export class CommandUnrunnable extends failure('CommandUnrunnable')<{
  command: string;
  image: string;
  /** 127: there is no such program. 126: it cannot be executed. */
  status: number;
  detail: string;
  /** A line for a Dockerfile that would bring it, where one is known. */
  install?: string;
}> {}

/** No bottle of that name is known. */
export class SlugUnknown extends failure('SlugUnknown')<{
  slug: string;
  /** Those that there are. */
  known: readonly string[];
}> {}

/** The bottle is there, but not in the state that a command needs. */
export class BottleNotRunning extends failure('BottleNotRunning')<{ slug: string; state: string }> {}

/** A bottle's supervisor ended without saying why. */
export class SupervisorGone extends failure('SupervisorGone')<{
  slug: string;
  /** The end of what it said. */
  words: string;
}> {}

/** The disk limit of a bottle was passed, and the bottle ended. */
export class DiskExceeded extends failure('DiskExceeded')<{ slug: string; bytes: number; limit: number }> {}

/** A path of this host that no bottle may see, or that is not there. */
export class MountRefused extends failure('MountRefused')<{
  path: string;
  reason: 'missing' | 'engine' | 'own' | 'kernel';
  /** What it holds or lies in. */
  because?: string;
}> {}

export type BottlesFailure =
  | StateUnusable
  | ControlSocketUnusable
  | InitMissing
  | InitSilent
  | CommandUnrunnable
  | SlugUnknown
  | BottleNotRunning
  | SupervisorGone
  | DiskExceeded
  | MountRefused;
