import type { AgentDefinition } from '../definitions/definition.ts';
import { CommandUnsaid, HeadlessUnsupported, PromptUnusable } from './errors.ts';
import type { HomeFile } from './home-file.ts';
import type { ProgramRequest } from './program.ts';
import { headlessTemplates, type Template } from './templates.ts';

export interface AgentRequest {
  readonly definition: AgentDefinition;
  /** Without one, only the definition's command is known. */
  readonly template?: Template;
  /** The bottle's user is root. */
  readonly isRoot: boolean;
  /** Absolute, inside: where the system prompt is, for programs that read it from a file. */
  readonly systemPromptPath: string;
  /** Absolute, inside. */
  readonly workspace: string;
  /** Do this and end, without a terminal. Public: it stands on a command line inside. */
  readonly headlessPrompt?: string;
  /** Act without asking: what a bottle is for, so the default of whoever calls. */
  readonly bypass: boolean;
  /** The user's own, after the command's. */
  readonly extraArgs?: readonly string[];
  /** Names of the variables that the bottle sets. */
  readonly variables?: readonly string[];
  /** Of `stageSkills`. */
  readonly skills?: readonly HomeFile[];
}

export interface ComposedAgent {
  /** What the bottle runs. Holds no secret. */
  readonly command: readonly string[];
  /** To be placed before the start. They replace what the image has under these names. */
  readonly files: readonly HomeFile[];
  /** Public variables; those of the bottle's definition go over them. */
  readonly env: Readonly<Record<string, string>>;
  /** A sentence each, for the user: what was asked for and cannot be given. */
  readonly warnings: readonly string[];
}

/** One argument of a program, its final NUL included (execve(2): MAX_ARG_STRLEN, 32 pages). */
const argumentLimit = 128 * 1024;

/**
 * Everything that running this agent comes to: pure, and the same for every backend.
 * @throws CommandUnsaid, HeadlessUnsupported, PromptUnusable
 */
export function composeAgent(request: AgentRequest): ComposedAgent {
  const { definition, template, headlessPrompt } = request;
  const command = definition.command ?? template?.command;
  if (command === undefined || command.length === 0) throw new CommandUnsaid({ agent: definition.name });
  const extraArgs = request.extraArgs ?? [];
  const program = template?.program;
  if (program === undefined) {
    if (headlessPrompt !== undefined) {
      throw new HeadlessUnsupported({
        agent: definition.name,
        ...(template === undefined ? {} : { template: template.name }),
        able: headlessTemplates,
      });
    }
    return { command: [...command, ...extraArgs], files: [], env: {}, warnings: leftOut(request) };
  }
  if (headlessPrompt !== undefined) checkPrompt(headlessPrompt);
  const told: ProgramRequest = {
    systemPromptPath: request.systemPromptPath,
    workspace: request.workspace,
    isRoot: request.isRoot,
    systemPrompt: definition.prompt.trim() === '' ? '' : definition.prompt,
    ...(headlessPrompt === undefined ? {} : { headlessPrompt }),
    bypass: request.bypass,
    extraArgs,
    variables: request.variables ?? [],
  };
  return {
    command: [...command, ...program.args(told)],
    files: [
      ...program.files(told),
      ...(request.skills ?? []).map((file) => ({
        ...file,
        path: `${program.skillsDirectory}/${file.path}`,
      })),
    ],
    env: program.env(told),
    warnings: [],
  };
}

function leftOut({ definition, template, skills }: AgentRequest): string[] {
  const whose =
    template === undefined
      ? `the agent ${definition.name} has no template`
      : `the template ${template.name} takes none`;
  return [
    ...(definition.prompt.trim() === '' ? [] : [`the system prompt is left out: ${whose}`]),
    ...((skills ?? []).length === 0 && definition.skills.length === 0
      ? []
      : [`the skills are left out: ${whose}`]),
  ];
}

function checkPrompt(prompt: string): void {
  const bytes = Buffer.byteLength(prompt);
  const limit = argumentLimit - 1;
  const fail = (problem: PromptUnusable['fields']['problem']) =>
    new PromptUnusable({ problem, bytes, limit });
  if (prompt.trim() === '') throw fail('empty');
  if (prompt.includes('\0')) throw fail('nul');
  if (bytes > limit) throw fail('too-long');
}
