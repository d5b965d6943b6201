import { join } from 'node:path';
import type { LaunchOrder } from '../bottles/messages.ts';
import type { Places } from '../bottles/places.ts';
import { resolveEnv } from '../definitions/env.ts';
import type { InspectedImage } from '../engine/image.ts';
import { askSecret } from './questions.ts';
import type { StartRequest } from './start-flags.ts';
import type { Prepared } from './start-plan.ts';
import { version } from '../version.ts';
import { homeOf } from './world-bottles.ts';
import type { World } from './world.ts';

interface OrderParts {
  readonly prepared: Prepared;
  readonly image: InspectedImage;
  /** What the backend made of it. */
  readonly made: string;
  /** As `secretEnv` found them. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly places: Places;
  readonly world: World;
}

/** What the supervisor is told: the plan, with the image that there is now and the values that only it may know. */
export function launchOrder({ prepared, image, made, secrets, places, world }: OrderParts): LaunchOrder {
  const { plan, engine, machine } = prepared;
  const { definitions, choices } = plan;
  const { agent, bottle } = definitions;
  const user = plan.user;
  return {
    places,
    slug: plan.slug,
    version: version(),
    backend: plan.backend,
    engine: engine.address,
    engineFacts: engine.facts,
    ...(machine === undefined ? {} : { machine }),
    image: {
      reference: image.reference,
      id: image.id,
      prepared: made,
      defaults: { user: image.config.config.User ?? '', env: image.config.config.Env ?? [] },
    },
    agent,
    bottles: bottle.names,
    ...(plan.template === undefined ? {} : { template: plan.template.name }),
    command: plan.command.length > 0 || plan.template !== undefined ? plan.command : ownCommand(image),
    isRoot: isRoot(user ?? image.config.config.User ?? ''),
    ...(choices.headlessPrompt === undefined ? {} : { headlessPrompt: choices.headlessPrompt }),
    bypass: choices.bypass,
    ...(user === undefined ? {} : { user }),
    terminal: choices.terminal,
    env: terminalEnv(choices.terminal, world),
    secretEnv: secrets,
    resources: plan.resources,
    watchesDisk: plan.backendFacts.diskLimit === 'watched',
    ...(plan.template?.install === undefined ? {} : { install: plan.template.install }),
    ...(choices.runtime === undefined ? {} : { runtime: choices.runtime }),
    mounts: choices.mounts,
    rules: plan.rules,
    imagePresets: plan.presets,
    skillsRoot: join(homeOf(world.environment), '.claude', 'skills'),
    gitUser: { ...bottle.gitUser, ...agent.gitUser },
    ...(plan.workspace === undefined ? {} : { workspace: plan.workspace }),
    dirty: choices.dirty,
    uncommitted: choices.uncommitted,
    detach: choices.detach,
  };
}

/** What the image itself would run. */
function ownCommand({ config }: InspectedImage): readonly string[] {
  return [...(config.config.Entrypoint ?? []), ...(config.config.Cmd ?? [])];
}

/** A user as a Dockerfile writes it: `root`, `0:0`, nothing. */
function isRoot(user: string): boolean {
  return ['', 'root', '0'].includes(user.split(':', 1)[0] ?? '');
}

/** Programs draw for the terminal that there is. */
function terminalEnv(terminal: boolean, { environment }: World): Record<string, string> {
  const shown = terminal ? ['TERM', 'COLORTERM', 'TZ'] : ['TZ'];
  return Object.fromEntries(
    shown.flatMap((name) => {
      const value = environment[name];
      return value === undefined || value === '' ? [] : [[name, value]];
    }),
  );
}

/**
 * The variables of the definitions and of `--env`, with their values. Not on a command line and not on a disk. Asked for
 * before anything that takes its time, since one may be missing.
 * @throws HostVariableMissing, EnvUnusable, NobodyToAsk
 */
export async function secretEnv(
  { plan }: Prepared,
  { envNames }: StartRequest,
  { environment, signal }: World,
): Promise<Record<string, string>> {
  const defined = { ...plan.definitions.bottle.env };
  for (const name of envNames) defined[name] = { kind: 'host', variable: name };
  return await resolveEnv(defined, {
    hostEnv: environment,
    ask: (name, message) => askSecret(message === '' ? name : message, { flag: `--env ${name}`, signal }),
  });
}
