import { failure } from '../failure.ts';

/** There is no smolvm: not where `CLAUDE_BOTTLE_SMOLVM` points, or, if that is unset, not on the PATH. */
export class SmolvmMissing extends failure('SmolvmMissing')<{ looked: string; configured: boolean }> {}

/** A program called smolvm answered, but it is not smol-machines' one. */
export class SmolvmForeign extends failure('SmolvmForeign')<{ path: string; said: string }> {}

/** The program cannot even tell its version: a library is missing, it crashed or it never ended. */
export class SmolvmBroken extends failure('SmolvmBroken')<{ path: string; said: string }> {}

/** smolvm is older than what is asked of it. */
export class SmolvmTooOld extends failure('SmolvmTooOld')<{
  path: string;
  found: string;
  needed: string;
  why: string;
}> {}

/**
 * What a failed `pack create` failed of: no KVM on the machine or no right to use it, no space, a layer that could not
 * be fetched or unpacked, refused credentials, a manifest that could not be had, a layer above that version's export
 * limit, nothing happening for too long, an output name that smolvm refuses.
 */
export type PackFailureCause =
  | 'no-kvm'
  | 'kvm-permission'
  | 'no-space'
  | 'blob'
  | 'auth'
  | 'manifest'
  | 'too-large'
  | 'timeout'
  | 'output-name'
  | 'unknown';

/** `smolvm pack create` ended without an artifact. `quote` is its own words, without terminal noise, bounded. */
export class SmolvmPackFailed extends failure('SmolvmPackFailed')<{
  version: string;
  reference: string;
  cause: PackFailureCause;
  quote: string;
}> {}

/** No machine can be booted here: there is no such device, or it is not for this user. */
export class VirtualisationMissing extends failure('VirtualisationMissing')<{
  device: string;
  problem: 'absent' | 'denied';
  /** The system's. */
  code: string;
}> {}

/** `prune` is `pack prune`; the others are subcommands of `machine`. */
export type MachineAction =
  'create' | 'start' | 'stop' | 'delete' | 'ls' | 'status' | 'data-dir' | 'exec' | 'prune';

/**
 * What an action on a machine failed of: no KVM here or no right to use it, no space, an artifact that is not there or
 * cannot be used, a machine that does not run, a name that is taken, nothing happening for too long, smolvm's own death
 * by a signal.
 */
export type MachineFailureCause =
  | 'no-kvm'
  | 'kvm-permission'
  | 'no-space'
  | 'artifact'
  | 'not-running'
  | 'exists'
  | 'timeout'
  | 'killed'
  | 'unknown';

/** smolvm did not do what was asked of a machine. `quote` is its own words, without terminal noise, bounded. */
export class MachineFailed extends failure('MachineFailed')<{
  action: MachineAction;
  /** Absent when it is about all of them. */
  name?: string;
  version: string;
  /** smolvm's exit status; 137 also when we ended it for taking too long. */
  code: number;
  cause: MachineFailureCause;
  quote: string;
}> {}

/** A machine that was to have no network has one, because its artifact asks for it. It has been deleted. */
export class MachineNetworked extends failure('MachineNetworked')<{ name: string; artifact: string }> {}

/** smolvm separates host and guest by a colon, so neither may hold one; both are absolute. */
export class MachinePathRefused extends failure('MachinePathRefused')<{ path: string }> {}

/**
 * The directory that is to hold smolvm's state cannot: its path is longer than sockets below it allow (`limit` bytes), or
 * relative; somebody else owns it or may write to it; other users cannot walk to it although the machine will run as
 * one; or the system said `reason`.
 */
export class MachineHomeUnusable extends failure('MachineHomeUnusable')<{
  path: string;
  reason: 'too-long' | 'relative' | 'not-yours' | 'not-a-directory' | 'not-walkable' | (string & {});
  limit?: number;
  /** The directory on the way that others cannot walk through. */
  barrier?: string;
}> {}

export type SmolvmFailure =
  | VirtualisationMissing
  | SmolvmMissing
  | SmolvmForeign
  | SmolvmBroken
  | SmolvmTooOld
  | SmolvmPackFailed
  | MachineFailed
  | MachineNetworked
  | MachinePathRefused
  | MachineHomeUnusable;
