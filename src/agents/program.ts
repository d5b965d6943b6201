import type { HomeFile } from './home-file.ts';

/** What an agent's program is to be told. */
export interface ProgramRequest {
  /** Absolute, inside the bottle: a file that holds `systemPrompt`. */
  readonly systemPromptPath: string;
  /** Absolute, inside the bottle: the directory that it may trust. */
  readonly workspace: string;
  /** The program runs as root. */
  readonly isRoot: boolean;
  /** Added to the program's own system prompt; empty for none. */
  readonly systemPrompt: string;
  /** Do this, print what came of it, and end. Without it: a conversation on a terminal. */
  readonly headlessPrompt?: string;
  /** Act without asking. */
  readonly bypass: boolean;
  readonly extraArgs: readonly string[];
  /** Names of the variables that the bottle's definition sets. Their values are nobody's business here. */
  readonly variables: readonly string[];
}

/** How one program takes its orders: pure, and checked against the program itself in test/agents. */
export interface Program {
  /** Where it looks for skills, relative to the home. */
  readonly skillsDirectory: string;
  /** What follows the command. */
  args(request: ProgramRequest): readonly string[];
  /** So that it starts working instead of asking questions. */
  files(request: ProgramRequest): readonly HomeFile[];
  /** Public variables. */
  env(request: ProgramRequest): Readonly<Record<string, string>>;
}

/** Flags that the user gave already are not given twice: not every program takes that. */
export function unlessGiven(flag: string, given: readonly string[]): readonly string[] {
  return given.includes(flag) ? [] : [flag];
}
