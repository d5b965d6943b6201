import { failure } from '../failure.ts';

/** A rule cannot be read. `rule` is as it was written, `origin` where that was. */
export class RuleInvalid extends failure('RuleInvalid')<{ rule: string; problem: string; origin: string }> {}

/** A rule would open the gate to names that anybody can register, and nobody said that this is meant. */
export class RuleTooBroad extends failure('RuleTooBroad')<{ rule: string; why: string; origin: string }> {}

/** A definition names a preset that does not exist. */
export class PresetUnknown extends failure('PresetUnknown')<{ preset: string; known: readonly string[] }> {}

/** The gate cannot listen on its socket. */
export class GateSocketUnusable extends failure('GateSocketUnusable')<{ path: string; code: string }> {}

/** The audit log cannot be written, so the gate is closed: nothing leaves a bottle unseen. */
export class AuditUnwritable extends failure('AuditUnwritable')<{ path: string; code: string }> {}

/** The audit log cannot be read back. */
export class AuditUnreadable extends failure('AuditUnreadable')<{ path: string; code: string }> {}

/** A check from inside the bottle found a way out that should not be there, or the way that should be there blocked. */
export class SealBroken extends failure('SealBroken')<{
  missed: readonly { check: string; expected: string; observed: string }[];
}> {}

export type GateFailure =
  | RuleInvalid
  | RuleTooBroad
  | PresetUnknown
  | GateSocketUnusable
  | AuditUnwritable
  | AuditUnreadable
  | SealBroken;
