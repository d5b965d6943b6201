import * as v from 'valibot';
import type { AgentDefinition } from '../definitions/definition.ts';
import type { Mount, Resources } from '../backends/backend.ts';
import type { MachineAddress } from '../backends/smolmachines/address.ts';
import type { EgressSummary } from '../gate/egress.ts';
import type { Rule } from '../gate/rule.ts';
import type { EngineFacts } from '../engine/engine.ts';
import type { ImageDefaults } from '../engine/image-defaults.ts';
import type { EngineAddress } from '../process/scratch.ts';
import { number } from '../schema.ts';
import type { Collected } from '../workspace/collect.ts';
import type { StagingNote } from '../workspace/notes.ts';
import type { Workspace } from '../workspace/workspace.ts';
import type { FailureMessage } from './line.ts';
import type { Places } from './places.ts';

/** What the supervisor of a new bottle is told, through its standard input: secrets never are on a command line or a disk. */
export interface LaunchOrder {
  readonly places: Places;
  readonly slug: string;
  readonly version: string;
  readonly backend: string;
  /** Where the image is; for a backend that is the engine's own, where the bottle will be too. */
  readonly engine: EngineAddress;
  /** What was found out about it a moment ago. */
  readonly engineFacts: EngineFacts;
  /** Where the machine will be, for bottles that are machines. */
  readonly machine?: MachineAddress;
  readonly image: {
    readonly reference: string;
    readonly id: string;
    /** What `Backend.prepare` made of it. */
    readonly prepared: string;
    readonly defaults: ImageDefaults;
  };
  readonly agent: AgentDefinition;
  /** The user's bottle files, parents first. */
  readonly bottles: readonly string[];
  /** Which template knows how to run the agent. */
  readonly template?: string;
  /** What the user typed; empty for the agent's own. */
  readonly command: readonly string[];
  readonly headlessPrompt?: string;
  readonly bypass: boolean;
  readonly user?: string;
  /** The user is root, as the image or the order has it. */
  readonly isRoot: boolean;
  readonly terminal: boolean;
  readonly env: Readonly<Record<string, string>>;
  readonly secretEnv: Readonly<Record<string, string>>;
  readonly resources: Resources;
  /** The storage sets no limit, so the supervisor looks. */
  readonly watchesDisk: boolean;
  /** A line for a Dockerfile that would bring the agent's program. */
  readonly install?: string;
  readonly runtime?: string;
  readonly mounts: readonly Mount[];
  readonly rules: readonly Rule[];
  /** Presets whose hosts are in the configuration of the image's own tools. */
  readonly imagePresets: readonly string[];
  readonly skillsRoot: string;
  readonly gitUser: { readonly name?: string; readonly email?: string };
  readonly workspace?: Workspace;
  readonly dirty: boolean;
  /** Uncommitted changes come out as one more commit. */
  readonly uncommitted: boolean;
  /** Goes on without whoever started it. */
  readonly detach: boolean;
}

/** Names of what a launch does, for progress and timings. */
export type StepName = 'create' | 'fill' | 'start' | 'seal' | 'collect' | 'remove';

/** What a supervisor tells whoever started it. */
export type SupervisorEvent =
  | { readonly event: 'step'; readonly name: StepName; readonly ms?: number }
  | { readonly event: 'warning'; readonly text: string }
  /** What presets open that the image's own tools name; for people. */
  | { readonly event: 'opened'; readonly rules: readonly string[] }
  | { readonly event: 'staged'; readonly notes: readonly StagingNote[] }
  /** The bottle exists, and waits for somebody to attach to it and start it. */
  | { readonly event: 'created' }
  /** The fence holds. The command starts when it is answered with `go`. */
  | { readonly event: 'sealed'; readonly checks: number; readonly ms: number }
  | { readonly event: 'running' }
  | { readonly event: 'collected'; readonly work: Collected }
  | { readonly event: 'ended'; readonly ending: Ending }
  | { readonly event: 'failed'; readonly failure: FailureMessage };

/** How a bottle ended, for the last words of `start`. */
export interface Ending {
  /** The command's own; undefined when it never ran. */
  readonly exitCode?: number;
  readonly outOfMemory: boolean;
  /** What ended it before its time. */
  readonly failure?: FailureMessage;
  /** Why the bottle is still there. */
  readonly keptBecause?: string;
  readonly egress: EgressSummary;
}

/** What the one who started a bottle answers. */
export const OwnerMessage = v.variant('do', [
  v.object({ do: v.literal('go') }),
  v.object({ do: v.literal('abort') }),
  /** Whoever was attached let go of it: the bottle goes on. */
  v.object({ do: v.literal('detach') }),
]);
export type OwnerMessage = Readonly<v.InferOutput<typeof OwnerMessage>>;

const RuleRequest = v.object({
  text: v.string(),
  iKnow: v.optional(v.boolean(), false),
  reach: v.optional(v.array(v.string()), []),
});

/** What other commands of ours may ask a supervisor. */
export const Request = v.variant('do', [
  v.object({ do: v.literal('status') }),
  v.object({ do: v.literal('allow'), rule: RuleRequest }),
  v.object({ do: v.literal('deny'), rule: RuleRequest }),
  v.object({ do: v.literal('rules') }),
  v.object({
    do: v.literal('collect'),
    uncommitted: v.boolean(),
    maxBytes: v.optional(v.pipe(number, v.minValue(0))),
  }),
  v.object({ do: v.literal('stop'), graceMs: number, discard: v.boolean() }),
]);
export type Request = Readonly<v.InferOutput<typeof Request>>;

export interface StatusAnswer {
  readonly phase: 'making' | 'running' | 'ending';
  readonly egress: EgressSummary;
  readonly connections: number;
}

export interface PolicyAnswer {
  /** The rule as it is understood. */
  readonly rule: string;
  readonly overruledBy?: string;
  readonly cut: number;
}
