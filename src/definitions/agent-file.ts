import * as v from 'valibot';
import { bottleKeys, commandFields, templateField } from './bottle-file.ts';
import { type AgentDefinition, skillName } from './definition.ts';
import { gitUserFields } from './env-fields.ts';
import { DefinitionInvalid } from './errors.ts';
import { anything, list, mapping, names, readFields, text } from './fields.ts';
import type { FrontMatter, Written } from './front-matter.ts';

export interface AgentFile {
  readonly agent: AgentDefinition;
  readonly warnings: readonly string[];
  /** For what is wrong with the bottles that it asks for. */
  lineOf: FrontMatter['lineOf'];
}

/** Keys that other programs read from the same file, so that it is one of Claude Code's subagents too. */
const passedOver = {
  name: v.optional(anything),
  description: v.optional(anything),
  model: v.optional(anything),
  color: v.optional(anything),
  memory: v.optional(anything),
};

/** What any agent may set. */
const anyAgent = {
  skills: v.optional(
    list(
      text('the name of a skill: lower-case letters, digits and single `-`', skillName),
      'names of skills',
    ),
  ),
  'git-gate': v.optional(mapping({ user: v.optional(gitUserFields) })),
  ...passedOver,
};

const repoFields = mapping(anyAgent);

function homeFields(templates: readonly string[]) {
  return mapping({
    bottle: v.optional(names),
    template: v.optional(templateField(templates)),
    command: v.optional(commandFields),
    ...anyAgent,
  });
}

interface AgentContext {
  readonly name: string;
  readonly templates: readonly string[];
}

/**
 * Reads an agent of the user's own.
 * @throws DefinitionInvalid
 */
export function readHomeAgent(source: FrontMatter, { name, templates }: AgentContext): AgentFile {
  const result = readFields(source, source.fields, homeFields(templates), ofBottles);
  if ('problems' in result) throw new DefinitionInvalid({ path: source.path, problems: result.problems });
  const { bottle, template, command, ...fields } = result.data;
  return {
    warnings: [],
    lineOf: (path) => source.lineOf(path),
    agent: {
      ...common(source, name, fields),
      source: 'home',
      bottles: bottle ?? [],
      ...(template === undefined ? {} : { template }),
      ...(command === undefined || command.length === 0 ? {} : { command }),
    },
  };
}

/**
 * Reads an agent that comes with a repository, and so from whoever may write to it: prompt, skills and git identity.
 * All else that an agent or a bottle may set is ignored with a warning.
 * @throws DefinitionInvalid
 */
export function readRepoAgent(source: FrontMatter, { name }: AgentContext): AgentFile {
  const warnings: string[] = [];
  const ignore = (path: readonly string[], why: string) =>
    warnings.push(`${source.path}:${source.lineOf(path)}: \`${path.join('.')}\` is ignored: ${why}`);
  const fields = new Map<string, Written>(Object.entries(source.fields));
  for (const key of fields.keys()) {
    const why = reserved(key);
    if (why === undefined) continue;
    ignore([key], why);
    fields.delete(key);
  }
  const gitGate = fields.get('git-gate');
  if (isMapping(gitGate) && Object.hasOwn(gitGate, 'repos')) {
    ignore(['git-gate', 'repos'], 'a repository says nothing about credentials');
    fields.set('git-gate', Object.fromEntries(Object.entries(gitGate).filter(([key]) => key !== 'repos')));
  }
  const result = readFields(source, Object.fromEntries(fields), repoFields, () => undefined);
  if ('problems' in result) throw new DefinitionInvalid({ path: source.path, problems: result.problems });
  return {
    warnings,
    lineOf: (path) => source.lineOf(path),
    agent: { ...common(source, name, result.data), source: 'repo', bottles: [] },
  };
}

function common(
  source: FrontMatter,
  name: string,
  fields: {
    skills?: string[] | undefined;
    'git-gate'?: { user?: AgentDefinition['gitUser'] | undefined } | undefined;
  },
): Pick<AgentDefinition, 'name' | 'path' | 'prompt' | 'skills' | 'gitUser'> {
  return {
    name,
    path: source.path,
    prompt: source.body,
    skills: [...new Set(fields.skills ?? [])],
    gitUser: fields['git-gate']?.user ?? {},
  };
}

function ofBottles(key: string): string | undefined {
  return bottleKeys.includes(key) ? `\`${key}\` is a key of bottles, not of agents` : undefined;
}

/** Why a repository may not set a key that an agent or a bottle of the user's own may. */
function reserved(key: string): string | undefined {
  if (Object.hasOwn(anyAgent, key)) return undefined;
  if (key === 'bottle')
    return 'a repository does not choose the bottle that it is worked on in; say --bottle';
  if (key === 'command' || key === 'template')
    return 'a repository does not choose what is run; the user does';
  return bottleKeys.includes(key)
    ? 'a repository sets prompt, skills and git identity, and nothing about the bottle'
    : undefined;
}

function isMapping(written: Written | undefined): written is { readonly [key: string]: Written } {
  return typeof written === 'object' && written !== null && !Array.isArray(written);
}
