import { formatOrigin } from '../gate/rule.ts';
import type { BottleDefinition, GitUser } from './definition.ts';
import type { BottleSettings } from './bottle-file.ts';
import type { Egress } from './egress.ts';

/** What no file has said anything about. */
export const nothingSaid: BottleSettings = { env: {}, resources: {}, gitUser: {}, warnings: [] };

/** A bottle over what it extends: what it says counts; of `env`, `git-gate.user` and `resources` each entry for itself. */
export function extend(parent: BottleSettings, child: BottleSettings): BottleSettings {
  return {
    env: { ...parent.env, ...child.env },
    ...last(parent, child),
    resources: { ...parent.resources, ...child.resources },
    gitUser: overlayUser(parent.gitUser, child.gitUser),
    ...pick('egress', child.egress ?? parent.egress),
    warnings: [...parent.warnings, ...child.warnings, ...lostDenials(parent.egress, child.egress)],
  };
}

/** Bottles side by side, as several in `extends` or several `--bottle`: the last word counts, and `egress` adds up. */
export function combine(bottles: readonly BottleSettings[]): BottleSettings {
  return bottles.reduce(
    (left, right) => ({
      env: { ...left.env, ...right.env },
      ...last(left, right),
      resources: { ...left.resources, ...right.resources },
      gitUser: overlayUser(left.gitUser, right.gitUser),
      ...pick('egress', addEgress(left.egress, right.egress)),
      // Two that extend the same third would say twice what that one has to say.
      warnings: [...new Set([...left.warnings, ...right.warnings])],
    }),
    nothingSaid,
  );
}

/** What was merged, as it is used. */
export function finish(settings: BottleSettings, names: readonly string[]): BottleDefinition {
  const { command, provider, image, user, backend, egress } = settings;
  return {
    names,
    env: settings.env,
    ...pick('template', provider?.template),
    image: image?.source ?? { buildArgs: {} },
    resources: settings.resources,
    ...pick('command', command?.length === 0 ? undefined : command),
    ...pick('user', user),
    ...pick('backend', backend),
    gitUser: settings.gitUser,
    presets: egress?.presets ?? [],
    rules: egress?.rules ?? [],
  };
}

/** Per field; what is over counts. */
export function overlayUser(under: GitUser, over: GitUser): GitUser {
  return { ...under, ...over };
}

/** The fields of which the later replaces the earlier as a whole. */
function last(
  earlier: BottleSettings,
  later: BottleSettings,
): Pick<BottleSettings, 'provider' | 'image' | 'command' | 'user' | 'backend'> {
  // A Dockerfile that is part of an `agent_provider` goes with it.
  const inherited =
    later.provider !== undefined && earlier.image?.saidBy === 'agent_provider' ? undefined : earlier.image;
  return {
    ...pick('provider', later.provider ?? earlier.provider),
    ...pick('image', later.image ?? inherited),
    ...pick('command', later.command ?? earlier.command),
    ...pick('user', later.user ?? earlier.user),
    ...pick('backend', later.backend ?? earlier.backend),
  };
}

function addEgress(left: Egress | undefined, right: Egress | undefined): Egress | undefined {
  if (left === undefined || right === undefined) return left ?? right;
  return {
    path: right.path,
    presets: [...new Set([...left.presets, ...right.presets])],
    // The same rule comes twice where both extend the bottle that has it.
    rules: [...new Set([...left.rules, ...right.rules])],
    warnings: [...new Set([...left.warnings, ...right.warnings])],
  };
}

/** Replacing rules that deny may open what the parent has closed: that is allowed, and not silent. */
function lostDenials(parent: Egress | undefined, child: Egress | undefined): string[] {
  const lost = parent?.rules.find(({ action }) => action === 'deny');
  if (lost === undefined || child === undefined) return [];
  return [
    `${child.path}: \`egress\` replaces that of ${formatOrigin(lost.origin)}, with what is denied there; deny it here too if it should stay so`,
  ];
}

/** A field that is there or absent, never undefined. */
function pick<Key extends string, Value>(
  key: Key,
  value: Value | undefined,
): { readonly [K in Key]?: Value } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [K in Key]?: Value });
}
