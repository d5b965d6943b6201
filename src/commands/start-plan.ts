import { checkMounts, mountWarning } from '../bottles/mount-check.ts';
import { withoutControls } from '../terminal/terminal.ts';
import { stat } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Backend, Bottle } from '../backends/backend.ts';
import { requireDirectories } from '../backends/mounts.ts';
import { backendNames, backendTraits } from '../backends/names.ts';
import type { MachineAddress } from '../backends/smolmachines/address.ts';
import { makePlan, type Plan } from '../bottles/plan.ts';
import { newSlug } from '../bottles/slug.ts';
import type { Definitions } from '../definitions/definition.ts';
import { loadDefinitions } from '../definitions/load.ts';
import { template as templateOf, templateNames } from '../agents/templates.ts';
import { Engine } from '../engine/engine.ts';
import { parseRule, type Rule } from '../gate/rule.ts';
import { inspectWorkspace } from '../workspace/inspect.ts';
import type { Workspace } from '../workspace/workspace.ts';
import { Declined } from './errors.ts';
import { type HostPresets, hostPresets } from './host-presets.ts';
import { confirm } from './questions.ts';
import { renderPlan } from './plan-view.ts';
import { backendSaid, bottleSays, openBackend } from './start-backend.ts';
import type { StartRequest } from './start-flags.ts';
import { bottlesPlaces, homeOf } from './world-bottles.ts';
import { cachePath, engineCommand, type World } from './world.ts';

/** A plan, and what was opened to make it. */
export interface Prepared {
  readonly plan: Plan;
  readonly engine: Engine;
  readonly backend: Backend;
  /** Of bottles that are machines. */
  readonly machine?: MachineAddress;
  /** The bottle that there will be. */
  readonly bottle: Bottle;
  readonly presets: HostPresets;
  readonly warnings: readonly string[];
}

/** Finds out everything that a plan depends on; nothing heavy, and no program prints anything. */
export async function preparePlan(request: StartRequest, world: World): Promise<Prepared> {
  const directory = process.cwd();
  const { signal } = world;
  const finding = found(request, directory, world);
  const connecting = Engine.connect({ command: engineCommand(world.environment), signal });
  const opening = wanted(request, finding, world).then((said) =>
    openBackend(world, { said, runtime: request.choices.runtime, engine: () => connecting }),
  );
  const [{ workspace, definitions }, engine, opened, ownDockerfile] = await Promise.all([
    finding,
    connecting,
    opening,
    dockerfileIn(directory),
  ]);
  signal.throwIfAborted();
  const { backend, machine } = opened;
  const { agent, bottle } = definitions;
  const named = agent.template ?? bottle.template ?? agent.name;
  const template = templateNames.includes(named) ? templateOf(named) : undefined;
  const names = [...new Set([...(template?.presets ?? []), ...bottle.presets, ...request.presets])];
  const presets = await hostPresets(names, homeOf(world.environment), world.environment);
  const mounts = await checkMounts(request.choices.mounts, {
    places: bottlesPlaces(world),
    home: homeOf(world.environment),
    own: [cachePath(world), ...opened.own],
    engineSocket: engine.socket,
    runtimeDirectory: world.environment['XDG_RUNTIME_DIR'],
  });
  // Before an image is built and packed for nothing.
  if (!backendTraits[opened.name].mountsFiles) await requireDirectories(mounts);
  const plan = makePlan({
    slug: newSlug(agent.name),
    definitions,
    choices: { ...request.choices, mounts },
    template,
    directory: workspace?.root ?? directory,
    ownDockerfile:
      ownDockerfile ?? (workspace === undefined ? undefined : await dockerfileIn(workspace.root)),
    workspace,
    backend: opened.name,
    backendReason: opened.reason,
    backendFacts: opened.facts,
    host: { cpus: availableParallelism(), memoryBytes: totalmem() },
    rules: [...bottle.rules, ...presets.rules, ...allowed(request)],
    presets: presets.fromImage,
  });
  return {
    plan,
    engine,
    backend,
    ...(machine === undefined ? {} : { machine }),
    bottle: backend.bottle(plan.slug),
    presets,
    warnings: [
      ...definitions.warnings,
      ...presets.problems,
      ...mounts.map(mountWarning),
      ...limitWarnings(plan),
      ...opened.warnings,
    ],
  };
}

export function showPlan({ plan, warnings }: Prepared, request: StartRequest, { terminal }: World): void {
  if (request.dryRun && request.json) {
    terminal.stdout.write(`${JSON.stringify(plan, undefined, 2)}\n`);
    return;
  }
  terminal.stderr.write(renderPlan(plan, request.envNames, terminal));
  for (const warning of warnings) terminal.stderr.write(`! ${withoutControls(warning)}\n`);
}

/** @throws Declined, NobodyToAsk */
export async function confirmPlan(_prepared: Prepared, request: StartRequest, world: World): Promise<void> {
  if (request.yes) return;
  if (!(await confirm('start?', { flag: '--yes', signal: world.signal })))
    throw new Declined({ what: 'not started' });
}

/** The backend of the command line, of the environment, or of the bottle: that is waited for only where nobody else says. */
async function wanted(
  request: StartRequest,
  finding: ReturnType<typeof found>,
  { environment }: World,
): Promise<ReturnType<typeof backendSaid>> {
  return backendSaid(request, environment) ?? bottleSays((await finding).definitions.bottle);
}

/** The repository here and the definitions, which may be in it. */
async function found(
  request: StartRequest,
  directory: string,
  world: World,
): Promise<{ workspace: Workspace | undefined; definitions: Definitions }> {
  const { signal, environment } = world;
  const workspace =
    request.workspace === 'none'
      ? undefined
      : await inspectWorkspace(directory, { copy: request.workspace === 'folder', signal });
  const definitions = await loadDefinitions({
    home: homeOf(environment),
    directory,
    ...(workspace === undefined ? {} : { repository: workspace.root }),
    ...(request.agent === undefined ? {} : { agent: request.agent }),
    bottles: request.bottles,
    iKnow: request.iKnow,
    builtIn: templateNames,
    backends: backendNames,
  });
  return { workspace, definitions };
}

/** What was asked for by number, and that a bottle of this kind does not hold to. */
function limitWarnings({ backend, choices, definitions }: Plan): string[] {
  const pids = choices.resources.pids ?? definitions.bottle.resources.pids;
  if (pids === undefined || backendTraits[backend].limitsPids) return [];
  return [
    `the limit of ${pids} processes is not held: what bounds the processes of a ${backendTraits[backend].thing} is its memory`,
  ];
}

/** @throws RuleInvalid, RuleTooBroad */
function allowed({ allow, iKnow }: StartRequest): Rule[] {
  return allow.map((text) =>
    parseRule(text, { action: 'allow', origin: { kind: 'command', command: 'allow' }, iKnow }),
  );
}

async function dockerfileIn(directory: string): Promise<string | undefined> {
  const path = join(directory, 'Dockerfile');
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() === true ? path : undefined;
}
