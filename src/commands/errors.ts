import { failure } from '../failure.ts';

/** A flag or a variable has a value that it cannot have. */
export class BadValue extends failure('BadValue')<{
  what: string;
  value: string;
  expected: string;
  /** The command that tells more. */
  help: string;
}> {}

/** `--output` names something that is there already. */
export class OutputExists extends failure('OutputExists')<{ path: string }> {}

/** `--output` cannot be written where it is. */
export class OutputUnwritable extends failure('OutputUnwritable')<{ path: string; code: string }> {}

/** `cache verify` found damage. */
export class CacheDamaged extends failure('CacheDamaged')<{ damaged: number }> {}

/** `doctor` found something that keeps the main job from working. */
export class ChecksFailed extends failure('ChecksFailed')<{ failed: number }> {}

/** The user was asked and said no. */
export class Declined extends failure('Declined')<{ what: string }> {}

/** A question has to be answered, and there is no terminal to ask on. */
export class NobodyToAsk extends failure('NobodyToAsk')<{ question: string; flag: string }> {}

/** `start` was told to stop, and its bottle has ended for it. */
export class StartInterrupted extends failure('StartInterrupted')<{
  signal: string;
  slug: string;
  /** Why the bottle is still there, if it is. */
  keptBecause?: string;
  /** The branch that its work came out as, if there was any. */
  branch?: string;
}> {}

/** `pack` was told to stop. */
export class PackInterrupted extends failure('PackInterrupted')<{
  signal: string;
  /** Where the result is in the cache, when only its copy to `output` was still to be made. */
  kept?: string;
  output?: string;
}> {}

export type CommandFailure =
  | BadValue
  | OutputExists
  | OutputUnwritable
  | CacheDamaged
  | ChecksFailed
  | Declined
  | NobodyToAsk
  | PackInterrupted
  | StartInterrupted;
