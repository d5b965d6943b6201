import { isAbsolute, resolve } from 'node:path';
import * as v from 'valibot';
import type { BottleDefinition, EnvValue, GitUser, ImageSource } from './definition.ts';
import { type Egress, readEgress } from './egress.ts';
import { egressFields } from './egress-fields.ts';
import { envFields, gitUserFields } from './env-fields.ts';
import { DefinitionInvalid } from './errors.ts';
import { anything, byKind, list, mapping, names, read, readFields, record, text, yesOrNo } from './fields.ts';
import type { FrontMatter } from './front-matter.ts';
import { parseBytes } from './size.ts';

/** One bottle's file, before anything is merged. What it does not say is absent. */
export interface BottleFile {
  /** As it is shown. */
  readonly path: string;
  readonly extends: readonly string[];
  readonly settings: BottleSettings;
  lineOf: FrontMatter['lineOf'];
}

/** What bottles are merged from. */
export interface BottleSettings {
  readonly env: Readonly<Record<string, EnvValue>>;
  /** `agent_provider`, as a whole. */
  readonly provider?: { readonly template?: string };
  readonly image?: { readonly source: ImageSource; readonly saidBy: 'image' | 'agent_provider' };
  readonly resources: BottleDefinition['resources'];
  /** Empty: the one of a parent is cleared. */
  readonly command?: readonly string[];
  readonly user?: string;
  readonly backend?: string;
  readonly gitUser: GitUser;
  /** `egress`, as a whole. */
  readonly egress?: Egress;
  readonly warnings: readonly string[];
}

export interface BottleContext {
  readonly iKnow: boolean;
  readonly templates: readonly string[];
  /** What a bottle can be made of, as `backend` names it. */
  readonly backends: readonly string[];
  /** Absolute: what relative paths start from, and the context where none is named. */
  readonly base: string;
  readonly home: string;
}

/** Texts as they are written, numbers too. */
export const commandFields = list(
  read('a text without NUL', (value) => (value.includes('\0') ? undefined : value)),
  'texts, the program first: `command: [PROGRAM, ARGUMENT]`; nothing is split, and no shell is asked',
);

/** A template's name, as agents and bottles write it. */
export function templateField(templates: readonly string[]) {
  return oneOf(templates);
}

function oneOf(known: readonly string[]) {
  return read(`one of ${known.join(', ')}`, (value) => known.find((one) => one === value));
}

const path = text('a path', /^[^~]|^~\//);
const bytes = read('a size such as 4G or 512MiB', (value) => {
  const size = parseBytes(value);
  return size !== undefined && size > 0 && Number.isSafeInteger(size) ? size : undefined;
});

function bottleFields({ iKnow, templates, backends }: BottleContext) {
  return mapping({
    extends: v.optional(names),
    env: v.optional(envFields),
    agent_provider: v.optional(
      mapping({
        template: v.optional(templateField(templates)),
        dockerfile: v.optional(path),
        auth_token: v.optional(text('the name of a variable')),
        forward_host_credentials: v.optional(yesOrNo),
      }),
    ),
    'git-gate': v.optional(mapping({ user: v.optional(gitUserFields), repos: v.optional(anything) })),
    egress: v.optional(egressFields(iKnow)),
    supervise: v.optional(yesOrNo),
    image: v.optional(
      byKind(
        {
          text: text('the name of an image', /^[A-Za-z0-9][A-Za-z0-9._/:@-]*$/),
          mapping: mapping({
            dockerfile: v.optional(path),
            context: v.optional(path),
            build_args: v.optional(
              record(
                { pattern: /^[A-Za-z_][A-Za-z0-9_]*$/, expected: 'the name of a build argument' },
                read('a text without NUL', (value) => (value.includes('\0') ? undefined : value)),
                'a mapping of build arguments',
              ),
            ),
            target: v.optional(text('the name of a stage', /^[A-Za-z0-9][A-Za-z0-9._-]*$/)),
          }),
        },
        'the name of an image, or a mapping with dockerfile, context, build_args, target',
      ),
    ),
    resources: v.optional(
      mapping({
        cpus: v.optional(
          read('a number of processor cores, such as 2 or 0.5', (value) => {
            const cpus = /^\d{1,4}(?:\.\d{1,3})?$/.test(value) ? Number(value) : 0;
            return cpus > 0 ? cpus : undefined;
          }),
        ),
        memory: v.optional(bytes),
        pids: v.optional(
          read('a whole number of processes', (value) =>
            /^[1-9]\d{0,8}$/.test(value) ? Number(value) : undefined,
          ),
        ),
        disk: v.optional(bytes),
      }),
    ),
    command: v.optional(commandFields),
    user: v.optional(
      text(
        'a user as in USER of a Dockerfile: a name or number, with :group or without',
        /^[A-Za-z0-9_][\w.-]*(?::[A-Za-z0-9_][\w.-]*)?$/,
      ),
    ),
    backend: v.optional(oneOf(backends)),
  });
}
type BottleFields = v.InferOutput<ReturnType<typeof bottleFields>>;

/** All keys of a bottle's file. */
export const bottleKeys: readonly string[] = [
  'extends',
  'env',
  'agent_provider',
  'git-gate',
  'egress',
  'supervise',
  'image',
  'resources',
  'command',
  'user',
  'backend',
] satisfies (keyof BottleFields)[];

/** Keys of agents: what is said when one stands in a bottle. */
const agentKeys = ['bottle', 'skills', 'template'];

/**
 * Reads a bottle's file.
 * @throws DefinitionInvalid
 */
export function readBottle(source: FrontMatter, context: BottleContext): BottleFile {
  const result = readFields(source, source.fields, bottleFields(context), (key) =>
    agentKeys.includes(key)
      ? `\`${key}\` is a key of agents${key === 'template' ? '; here it is `agent_provider.template`' : ''}`
      : undefined,
  );
  if ('problems' in result) throw new DefinitionInvalid({ path: source.path, problems: result.problems });
  const fields = result.data;
  const provider = fields.agent_provider;
  if (provider?.dockerfile !== undefined && fields.image !== undefined) {
    const line = source.lineOf(['agent_provider', 'dockerfile']);
    const problem = `\`agent_provider.dockerfile\` and \`image\` (line ${source.lineOf(['image'])}) both say what the image is made from`;
    throw new DefinitionInvalid({ path: source.path, problems: [{ line, problem }] });
  }
  const image = imageOf(fields, context);
  const { cpus, memory, pids, disk } = fields.resources ?? {};
  return {
    path: source.path,
    extends: fields.extends ?? [],
    lineOf: (wanted) => source.lineOf(wanted),
    settings: {
      env: fields.env ?? {},
      ...(provider === undefined
        ? {}
        : { provider: provider.template === undefined ? {} : { template: provider.template } }),
      ...(image === undefined ? {} : { image }),
      resources: {
        ...(cpus === undefined ? {} : { cpus }),
        ...(memory === undefined ? {} : { memoryBytes: memory }),
        ...(pids === undefined ? {} : { pids }),
        ...(disk === undefined ? {} : { diskBytes: disk }),
      },
      ...(fields.command === undefined ? {} : { command: fields.command }),
      ...(fields.user === undefined ? {} : { user: fields.user }),
      ...(fields.backend === undefined ? {} : { backend: fields.backend }),
      gitUser: fields['git-gate']?.user ?? {},
      ...(fields.egress === undefined ? {} : { egress: readEgress(fields.egress, source, context.iKnow) }),
      warnings: notBuilt(fields, source),
    },
  };
}

function imageOf(
  { image, agent_provider: provider }: BottleFields,
  context: BottleContext,
): BottleSettings['image'] {
  const absolute = (written: string) => resolvePath(written, context);
  if (typeof image === 'string') return { source: { image, buildArgs: {} }, saidBy: 'image' };
  if (image !== undefined) {
    const from = image.context === undefined ? context.base : absolute(image.context);
    return {
      saidBy: 'image',
      source: {
        // As the engines do: the Dockerfile of a context is in it, but one that is named stands for itself.
        dockerfile: image.dockerfile === undefined ? resolve(from, 'Dockerfile') : absolute(image.dockerfile),
        context: from,
        ...(image.target === undefined ? {} : { target: image.target }),
        buildArgs: image.build_args ?? {},
      },
    };
  }
  if (provider?.dockerfile === undefined) return undefined;
  return {
    source: { dockerfile: absolute(provider.dockerfile), context: context.base, buildArgs: {} },
    saidBy: 'agent_provider',
  };
}

function resolvePath(written: string, { base, home }: BottleContext): string {
  if (written.startsWith('~/')) return resolve(home, written.slice(2));
  return isAbsolute(written) ? resolve(written) : resolve(base, written);
}

/** What loads and does nothing yet, with what comes of that. */
function notBuilt(fields: BottleFields, source: FrontMatter): string[] {
  const warnings: string[] = [];
  const warn = (at: readonly string[], text: string) =>
    warnings.push(`${source.path}:${source.lineOf(at)}: \`${at.join('.')}\`: ${text}`);
  const provider = fields.agent_provider;
  if (provider?.auth_token !== undefined) {
    warn(
      ['agent_provider', 'auth_token'],
      'the token is not read, and the requests of the agent go out without credentials: injection is not built',
    );
  }
  if (provider?.forward_host_credentials === true) {
    warn(
      ['agent_provider', 'forward_host_credentials'],
      'the login of the host is not used, and the requests of the agent go out without credentials: injection is not built',
    );
  }
  if (fields['git-gate']?.repos !== undefined) {
    warn(
      ['git-gate', 'repos'],
      'no key is used and no repository can be pushed to from the bottle: the git gate is not built; work comes out as a branch',
    );
  }
  if (fields.supervise === true) {
    warn(
      ['supervise'],
      'the agent cannot propose changes from inside: that is not built; change a running bottle with claude-bottle allow and deny',
    );
  }
  return warnings;
}
