import { failure } from '../failure.ts';

/** Something is wrong in a file. Says what was expected; never a value, since values may be secret. */
export interface Problem {
  /** From 1. */
  readonly line: number;
  readonly problem: string;
}

/** A definition cannot be used: all that is wrong with it, by line. */
export class DefinitionInvalid extends failure('DefinitionInvalid')<{
  path: string;
  problems: readonly Problem[];
}> {}

/** A definition is there and cannot be read, or must not be. */
export class DefinitionUnreadable extends failure('DefinitionUnreadable')<{
  path: string;
  reason: 'no-permission' | 'not-a-file' | 'too-large' | 'not-text' | 'outside-repository' | 'io-error';
  /** The system's, where it said no. */
  code?: string;
}> {}

/** A name of an agent or a bottle that no file could have. */
export class DefinitionNameInvalid extends failure('DefinitionNameInvalid')<{
  kind: 'agent' | 'bottle';
  name: string;
}> {}

/** No file and no template has the name that was asked for. */
export class AgentUnknown extends failure('AgentUnknown')<{
  name: string;
  known: readonly string[];
  suggestion?: string;
  places: readonly string[];
}> {}

/** `--bottle` names none that there is. */
export class BottleUnknown extends failure('BottleUnknown')<{
  name: string;
  known: readonly string[];
  suggestion?: string;
  place: string;
}> {}

/** Bottles extend each other in a circle; the last of the chain is its first. */
export class BottleCycle extends failure('BottleCycle')<{ chain: readonly string[] }> {}

/** Variables of a bottle come from variables of the host that are not set. */
export class HostVariableMissing extends failure('HostVariableMissing')<{
  missing: readonly { readonly name: string; readonly variable: string }[];
}> {}

/** Variables are to be asked for, and there is nobody to ask. */
export class PromptImpossible extends failure('PromptImpossible')<{ names: readonly string[] }> {}

/** A variable cannot be handed to a process. */
export class EnvUnusable extends failure('EnvUnusable')<{ name: string; problem: 'name' | 'nul' }> {}

/** `init` would overwrite these. */
export class DefinitionExists extends failure('DefinitionExists')<{ paths: readonly string[] }> {}

/** `init` cannot write. */
export class DefinitionUnwritable extends failure('DefinitionUnwritable')<{ path: string; code: string }> {}

export type DefinitionFailure =
  | DefinitionInvalid
  | DefinitionUnreadable
  | DefinitionNameInvalid
  | AgentUnknown
  | BottleUnknown
  | BottleCycle
  | HostVariableMissing
  | PromptImpossible
  | EnvUnusable
  | DefinitionExists
  | DefinitionUnwritable;
