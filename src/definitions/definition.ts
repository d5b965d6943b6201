import type { Rule } from '../gate/rule.ts';

/** What a skill is called: one directory, no way up and no hidden one, in the form that agents take. */
export const skillName = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;

/** How a variable gets its value. The forms of a definition: a literal, `${HOST_VAR}`, `?` or `?message`. */
export type EnvValue =
  | { readonly kind: 'literal'; readonly value: string }
  | { readonly kind: 'host'; readonly variable: string }
  | { readonly kind: 'prompt'; readonly message: string };

/** Who commits are by. Claimed, not vouched for. */
export interface GitUser {
  readonly name?: string;
  readonly email?: string;
}

/** What runs. */
export interface AgentDefinition {
  readonly name: string;
  /** `repo`: comes with the repository, so it sets prompt, skills and git identity and nothing else. */
  readonly source: 'home' | 'repo' | 'built-in';
  readonly path?: string;
  /** The system prompt; empty for none. */
  readonly prompt: string;
  /** Names of directories below the host's skills. */
  readonly skills: readonly string[];
  readonly gitUser: GitUser;
  /** Bottles that it asks for; never of a repo's agent. */
  readonly bottles: readonly string[];
  /** Which built-in template knows how to run it. */
  readonly template?: string;
  readonly command?: readonly string[];
}

/** What the image is made from. Paths are absolute. */
export interface ImageSource {
  /** An image that the engine has; excludes the others. */
  readonly image?: string;
  readonly dockerfile?: string;
  readonly context?: string;
  readonly target?: string;
  readonly buildArgs: Readonly<Record<string, string>>;
}

/** Where it runs: all bottle files that were chosen, merged. */
export interface BottleDefinition {
  /** In the order in which they were merged; empty when no file was. */
  readonly names: readonly string[];
  readonly env: Readonly<Record<string, EnvValue>>;
  readonly template?: string;
  readonly image: ImageSource;
  readonly resources: {
    readonly cpus?: number;
    readonly memoryBytes?: number;
    readonly pids?: number;
    readonly diskBytes?: number;
  };
  readonly command?: readonly string[];
  readonly user?: string;
  /** What it is to be made of; without it, whatever this host is best for. */
  readonly backend?: string;
  readonly gitUser: GitUser;
  readonly presets: readonly string[];
  /** The rules that stand in the files themselves; those of presets come on top. */
  readonly rules: readonly Rule[];
}

/** An agent with the bottle it runs in. */
export interface Definitions {
  readonly agent: AgentDefinition;
  readonly bottle: BottleDefinition;
  /** A sentence each, for the user: what was ignored and why. */
  readonly warnings: readonly string[];
}
