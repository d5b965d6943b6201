import { failure } from '../failure.ts';

/** There is no such bottle, or none any more. */
export class BottleGone extends failure('BottleGone')<{ slug: string }> {}

/** The bottle is there, but its command does not run. */
export class BottleNotRunning extends failure('BottleNotRunning')<{ slug: string }> {}

/** A bottle of that name is there already. */
export class BottleExists extends failure('BottleExists')<{ slug: string }> {}

/** The bottle has nothing at that path, or nothing that can be unpacked into. */
export class BottlePathMissing extends failure('BottlePathMissing')<{ slug: string; path: string }> {}

/** The user, or the group, as whom the bottle should run is not in the image. */
export class UserUnknown extends failure('UserUnknown')<{
  user: string;
  image: string;
  reason: string;
}> {}

/** The engine knows no such OCI runtime. */
export class RuntimeUnknown extends failure('RuntimeUnknown')<{
  runtime: string;
  command: string;
  /** What it has, as far as it tells. */
  known: readonly string[];
}> {}

/** A container of this engine cannot reach the gate, which listens on a socket of this host. */
export class GateUnreachable extends failure('GateUnreachable')<{
  command: string;
  place: 'virtual-machine' | 'remote';
  /** What told: `Docker Desktop`, `tcp://10.0.0.1:2375`. */
  sign: string;
}> {}

/** The engine would take limits for a bottle without holding it to them. */
export class LimitsUnheld extends failure('LimitsUnheld')<{
  command: string;
  limits: readonly string[];
  rootless: boolean;
}> {}

/** The machine was started, but what runs in it never answered as it should. */
export class MachineUnready extends failure('MachineUnready')<{
  slug: string;
  /** The last that was heard of it. */
  words: string;
}> {}

/** A machine can be given directories of the host, and this is none. */
export class MountUnfit extends failure('MountUnfit')<{ source: string }> {}

/** Files could not be put into a bottle, or not taken out of it. */
export class FilesRefused extends failure('FilesRefused')<{ slug: string; path: string; words: string }> {}

export type BackendFailure =
  | BottleGone
  | BottleNotRunning
  | BottleExists
  | BottlePathMissing
  | UserUnknown
  | RuntimeUnknown
  | GateUnreachable
  | LimitsUnheld
  | MachineUnready
  | MountUnfit
  | FilesRefused;
