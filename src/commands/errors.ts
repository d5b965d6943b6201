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

export type CommandFailure = BadValue | OutputExists | OutputUnwritable | CacheDamaged | ChecksFailed;
