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

export type SmolvmFailure =
  VirtualisationMissing | SmolvmMissing | SmolvmForeign | SmolvmBroken | SmolvmTooOld | SmolvmPackFailed;
