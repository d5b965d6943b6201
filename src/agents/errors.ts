import { failure } from '../failure.ts';

/** A definition names a template that does not exist. */
export class TemplateUnknown extends failure('TemplateUnknown')<{
  template: string;
  known: readonly string[];
}> {}

/** There is neither a template nor a command, so nothing says what to run. */
export class CommandUnsaid extends failure('CommandUnsaid')<{ agent: string }> {}

/** A prompt was given for a run without a terminal, and nobody knows how this agent takes one. */
export class HeadlessUnsupported extends failure('HeadlessUnsupported')<{
  agent: string;
  template?: string;
  able: readonly string[];
}> {}

/** A prompt that Linux or the agent cannot take as an argument. */
export class PromptUnusable extends failure('PromptUnusable')<{
  problem: 'empty' | 'nul' | 'too-long';
  bytes: number;
  limit: number;
}> {}

/** A skill's name is none: it would be a path. */
export class SkillNameInvalid extends failure('SkillNameInvalid')<{ skill: string }> {}

/** There is no such skill. `known` are those that are there. */
export class SkillMissing extends failure('SkillMissing')<{
  skill: string;
  path: string;
  known: readonly string[];
}> {}

/** The skill's directory cannot be read as one. */
export class SkillUnreadable extends failure('SkillUnreadable')<{
  skill: string;
  path: string;
  reason: string;
}> {}

/** A skill is larger than any honest one. `limit` and `unit` say what it went over. */
export class SkillTooLarge extends failure('SkillTooLarge')<{
  skill: string;
  path: string;
  unit: 'bytes' | 'files' | 'levels';
  limit: number;
}> {}

export type AgentFailure =
  | TemplateUnknown
  | CommandUnsaid
  | HeadlessUnsupported
  | PromptUnusable
  | SkillNameInvalid
  | SkillMissing
  | SkillUnreadable
  | SkillTooLarge;
