import { realpath } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { type AgentFile, readHomeAgent, readRepoAgent } from './agent-file.ts';
import type { AgentDefinition, Definitions } from './definition.ts';
import { AgentUnknown, DefinitionNameInvalid } from './errors.ts';
import { definitionName } from './fields.ts';
import { namesOn, readFrom, type Shelf } from './files.ts';
import { combine, finish, overlayUser } from './merge.ts';
import { BottleShelf } from './resolve.ts';
import { nearest } from './spelling.ts';

export interface DefinitionsRequest {
  /** The user's home directory. */
  readonly home: string;
  /** The root of the repository that is worked on, if it is one. */
  readonly repository?: string;
  /** Absolute: what relative paths in bottles start from where there is no repository. */
  readonly directory: string;
  readonly agent?: string;
  /** From `--bottle`, in order; empty for those that the agent asks for. */
  readonly bottles: readonly string[];
  /** Over-broad rules are meant. */
  readonly iKnow: boolean;
  /** Agents that are built in; the templates that definitions may name. */
  readonly builtIn: readonly string[];
  /** What a bottle can be made of, as its definition may name it. */
  readonly backends: readonly string[];
}

/** An agent that can be started by its name. */
export interface ListedAgent {
  readonly name: string;
  readonly source: AgentDefinition['source'];
}

/**
 * Finds the agent and the bottles, and merges them. The user's own agent wins over the repository's of the same name,
 * and that over the one that is built in. Without a name: an agent that has no prompt.
 * @throws DefinitionInvalid, DefinitionUnreadable, DefinitionNameInvalid, AgentUnknown, BottleUnknown, BottleCycle
 */
export async function loadDefinitions(request: DefinitionsRequest): Promise<Definitions> {
  const { home, repository, directory, iKnow, builtIn, backends } = request;
  for (const name of request.bottles) checkName('bottle', name);
  const found = await findAgent(request);
  const bottles = new BottleShelf(homeShelf(home, 'bottles'), {
    iKnow,
    templates: builtIn,
    backends,
    base: repository ?? directory,
    home,
  });
  const chosen =
    request.bottles.length > 0
      ? await bottles.chosen(request.bottles)
      : await bottles.named(found.agent.bottles, found.agent.path ?? '', (index) =>
          found.lineOf(['bottle', index]),
        );
  const merged = combine(chosen);
  const bottle = finish(merged, bottles.merged);
  return {
    agent: { ...found.agent, gitUser: overlayUser(merged.gitUser, found.agent.gitUser) },
    bottle,
    warnings: [
      ...found.warnings,
      ...(await ignoredBottles(request)),
      ...merged.warnings,
      ...(merged.egress?.warnings ?? []),
    ],
  };
}

/** All agents that there are, by name; one that hides another stands for it. */
export async function listAgents(
  request: Pick<DefinitionsRequest, 'home' | 'repository' | 'builtIn'>,
): Promise<readonly ListedAgent[]> {
  const listed = new Map<string, ListedAgent>();
  const add = (names: readonly string[], source: ListedAgent['source']) => {
    for (const name of names) if (!listed.has(name)) listed.set(name, { name, source });
  };
  add(await namesOn(homeShelf(request.home, 'agents')), 'home');
  const repo = await repoShelf(request, 'agents');
  if (repo !== undefined) add(await namesOn(repo), 'repo');
  add(request.builtIn, 'built-in');
  return [...listed.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The names of all bottles that there are. */
export async function listBottles({ home }: Pick<DefinitionsRequest, 'home'>): Promise<readonly string[]> {
  return namesOn(homeShelf(home, 'bottles'));
}

async function findAgent(request: DefinitionsRequest): Promise<AgentFile> {
  const { agent: name, builtIn: templates } = request;
  if (name === undefined) return builtInAgent('agent');
  checkName('agent', name);
  const own = homeShelf(request.home, 'agents');
  const theirs = await repoShelf(request, 'agents');
  const ownFile = await readFrom(own, name);
  if (ownFile !== undefined) {
    const file = readHomeAgent(ownFile, { name, templates });
    const hidden = theirs !== undefined && (await namesOn(theirs)).includes(name);
    if (!hidden) return file;
    const warning = `${theirs.shown}/${name}.md is ignored: your own ${ownFile.path} has the same name`;
    return { ...file, warnings: [...file.warnings, warning] };
  }
  const theirFile = theirs === undefined ? undefined : await readFrom(theirs, name);
  if (theirFile !== undefined) return readRepoAgent(theirFile, { name, templates });
  if (templates.includes(name)) return builtInAgent(name, name);
  const known = (await listAgents(request)).map((agent) => agent.name);
  const suggestion = nearest(name, known);
  throw new AgentUnknown({
    name,
    known,
    ...(suggestion === undefined ? {} : { suggestion }),
    places: [own.shown, ...(theirs === undefined ? [] : [theirs.shown])],
  });
}

function builtInAgent(name: string, template?: string): AgentFile {
  return {
    warnings: [],
    lineOf: () => 1,
    agent: {
      name,
      source: 'built-in',
      prompt: '',
      skills: [],
      gitUser: {},
      bottles: [],
      ...(template === undefined ? {} : { template }),
    },
  };
}

function checkName(kind: 'agent' | 'bottle', name: string): void {
  if (!definitionName.test(name)) throw new DefinitionNameInvalid({ kind, name });
}

/** A repository that could define bottles could define its own way out. */
async function ignoredBottles(request: DefinitionsRequest): Promise<string[]> {
  const shelf = await repoShelf(request, 'bottles');
  if (shelf === undefined || (await realpath(shelf.directory).catch(() => undefined)) === undefined)
    return [];
  return [
    `${shelf.shown} is ignored: a repository does not define the bottle that it is worked on in; yours are in ~/.claude-bottle/bottles`,
  ];
}

function homeShelf(home: string, kind: 'agents' | 'bottles'): Shelf {
  return { directory: join(home, '.claude-bottle', kind), shown: `~/.claude-bottle/${kind}` };
}

/** The repository's, unless that is the user's own: whose home is a repository has one `.claude-bottle`. */
async function repoShelf(
  { home, repository }: Pick<DefinitionsRequest, 'home' | 'repository'>,
  kind: 'agents' | 'bottles',
): Promise<Shelf | undefined> {
  if (repository === undefined) return undefined;
  const own = homeShelf(home, kind).directory;
  const directory = join(repository, '.claude-bottle', kind);
  const [ownPlace, place] = await Promise.all(
    [own, directory].map((path) => realpath(path).catch(() => path)),
  );
  if (ownPlace === place) return undefined;
  const below = relative(home, directory);
  const outside = below === '' || below.startsWith(`..${sep}`);
  return { directory, within: repository, shown: outside ? directory : `~/${below}` };
}
