import type { BackendFacts, Mount, Resources } from '../backends/backend.ts';
import { type BackendName, backendTraits } from '../backends/names.ts';
import type { BottleDefinition, Definitions } from '../definitions/definition.ts';
import type { Rule } from '../gate/rule.ts';
import type { Workspace } from '../workspace/workspace.ts';

/** What an image is made from. */
export type ImagePlan =
  | { readonly kind: 'image'; readonly reference: string; readonly why: string }
  | {
      readonly kind: 'build';
      readonly context: string;
      readonly dockerfile: string;
      readonly target?: string;
      readonly buildArgs: Readonly<Record<string, string>>;
      readonly why: string;
    };

/** What the command line says; it wins over the definitions. */
export interface Choices {
  readonly image?: string;
  readonly dockerfile?: string;
  readonly target?: string;
  readonly buildArgs: Readonly<Record<string, string>>;
  /** The template's own image although the repository has a Dockerfile. */
  readonly templateImage: boolean;
  readonly command: readonly string[];
  readonly user?: string;
  readonly runtime?: string;
  readonly resources: Partial<Resources>;
  readonly mounts: readonly Mount[];
  readonly terminal: boolean;
  readonly detach: boolean;
  readonly dirty: boolean;
  readonly uncommitted: boolean;
  readonly bypass: boolean;
  readonly headlessPrompt?: string;
}

/** What a template adds; see src/agents. */
export interface TemplatePlan {
  readonly name: string;
  /** The directory of its Dockerfile. */
  readonly directory: string;
  readonly command: readonly string[];
  /** It is nothing without its own image. */
  readonly needsOwnImage: boolean;
  /** A line for a Dockerfile that would bring its program. */
  readonly install?: string;
}

/** Everything that was found out before deciding. */
export interface PlanFacts {
  readonly slug: string;
  readonly definitions: Definitions;
  readonly choices: Choices;
  readonly template: TemplatePlan | undefined;
  /** The directory that the bottle is about, and the Dockerfile in it, if there is one. */
  readonly directory: string;
  readonly ownDockerfile: string | undefined;
  readonly workspace: Workspace | undefined;
  readonly backend: BackendName;
  /** Why that one, for people. */
  readonly backendReason: string;
  readonly backendFacts: BackendFacts;
  readonly host: { readonly cpus: number; readonly memoryBytes: number };
  readonly rules: readonly Rule[];
  readonly presets: readonly string[];
}

/** Everything that is decided before anything heavy happens. Holds names of variables, never their values. */
export interface Plan {
  readonly slug: string;
  readonly definitions: Definitions;
  readonly choices: Choices;
  readonly template: TemplatePlan | undefined;
  readonly image: ImagePlan | undefined;
  readonly command: readonly string[];
  readonly user: string | undefined;
  readonly resources: Resources;
  readonly backend: BackendName;
  /** Why that one, for people. */
  readonly backendReason: string;
  readonly backendFacts: BackendFacts;
  readonly workspace: Workspace | undefined;
  readonly rules: readonly Rule[];
  readonly presets: readonly string[];
}

const gib = 2 ** 30;
/** Threads count too: a language server or a browser has hundreds. */
const defaultPids = 4096;
const defaultDiskBytes = 20 * gib;
const mostCpus = 4;
const mostMemoryBytes = 8 * gib;

/** Decides. Pure: the same facts give the same plan. */
export function makePlan(facts: PlanFacts): Plan {
  const { definitions, choices } = facts;
  const { bottle, agent } = definitions;
  return {
    slug: facts.slug,
    definitions,
    choices,
    template: facts.template,
    image: imageOf(facts),
    command: [choices.command, agent.command, bottle.command].find((given) => (given ?? []).length > 0) ?? [],
    user: choices.user ?? bottle.user,
    resources: backendTraits[facts.backend].fit(resourcesOf(choices.resources, bottle.resources, facts.host)),
    backend: facts.backend,
    backendReason: facts.backendReason,
    backendFacts: facts.backendFacts,
    workspace: facts.workspace,
    rules: facts.rules,
    presets: facts.presets,
  };
}

/**
 * The command line, else the bottle's definition, else the repository's own Dockerfile, else the template's. `undefined`:
 * there is nothing to make an image from.
 */
function imageOf({
  definitions,
  choices,
  template,
  directory,
  ownDockerfile,
}: PlanFacts): ImagePlan | undefined {
  const defined = definitions.bottle.image;
  const buildArgs = { ...defined.buildArgs, ...choices.buildArgs };
  const target = choices.target ?? defined.target;
  const build = (context: string, dockerfile: string, why: string): ImagePlan => ({
    kind: 'build',
    context,
    dockerfile,
    buildArgs,
    why,
    ...(target === undefined ? {} : { target }),
  });
  if (choices.image !== undefined) return { kind: 'image', reference: choices.image, why: '--image' };
  if (choices.dockerfile !== undefined) return build(directory, choices.dockerfile, '--dockerfile');
  const ofTemplate =
    template === undefined
      ? undefined
      : build(template.directory, `${template.directory}/Dockerfile`, `built in for ${template.name}`);
  if (choices.templateImage && ofTemplate !== undefined) return ofTemplate;
  const why = `bottle ${definitions.bottle.names.join(', ')}`;
  if (defined.image !== undefined) return { kind: 'image', reference: defined.image, why };
  if (defined.dockerfile !== undefined) return build(defined.context ?? directory, defined.dockerfile, why);
  if (defined.context !== undefined) return build(defined.context, `${defined.context}/Dockerfile`, why);
  if (template?.needsOwnImage === true) return ofTemplate;
  if (ownDockerfile !== undefined) return build(directory, ownDockerfile, 'the Dockerfile here');
  return ofTemplate;
}

function resourcesOf(
  chosen: Partial<Resources>,
  defined: BottleDefinition['resources'],
  host: PlanFacts['host'],
): Resources {
  return {
    cpus: chosen.cpus ?? defined.cpus ?? Math.min(host.cpus, mostCpus),
    memoryBytes:
      chosen.memoryBytes ??
      defined.memoryBytes ??
      Math.min(Math.floor(host.memoryBytes / 2), mostMemoryBytes),
    pids: chosen.pids ?? defined.pids ?? defaultPids,
    diskBytes: chosen.diskBytes ?? defined.diskBytes ?? defaultDiskBytes,
  };
}
