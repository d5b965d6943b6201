import { PresetUnknown } from '../errors.ts';
import { makeRule, type Rule } from '../rule.ts';
import { aptHosts, type ConfigText, npmHosts, pipHosts, type ToolHosts } from '../tool-config.ts';
import { type HostPreset, hostPresets } from './hosts.ts';

/** What the tools' own configuration says, user's and image's together. Read by the caller; absent files are left out. */
export interface ToolConfigs {
  /** npmrc files. */
  readonly npm: readonly ConfigText[];
  /** pip.conf files. */
  readonly pip: readonly ConfigText[];
  /** `sources.list`, `sources.list.d/*.list` and `*.sources`. */
  readonly apt: readonly ConfigText[];
  /** For `${NAME}` in an npmrc. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface PresetRules {
  readonly rules: readonly Rule[];
  /** One line each, for the user. */
  readonly problems: readonly string[];
}

/** These name no host: whoever uses a mirror has said so to the tool, and the public hosts are then not needed. */
const toolPresets: Readonly<Record<string, (configs: ToolConfigs) => ToolHosts>> = {
  npm: ({ npm, env }) => npmHosts(npm, env),
  pip: ({ pip }) => pipHosts(pip),
  debian: ({ apt }) => aptHosts(apt),
};

/** Those that read the configuration of a tool. */
export const toolPresetNames: readonly string[] = Object.keys(toolPresets);

export const presetNames: readonly string[] = [...Object.keys(hostPresets), ...toolPresetNames];

/** The rules of a preset. @throws PresetUnknown, RuleInvalid if a tool's configuration names a host that is none */
export function presetRules(preset: string, configs: ToolConfigs): PresetRules {
  if (Object.hasOwn(hostPresets, preset)) {
    const { rules }: HostPreset = hostPresets[preset as keyof typeof hostPresets];
    return {
      rules: rules.map((rule) => makeRule(rule, { action: 'allow', origin: { kind: 'preset', preset } })),
      problems: [],
    };
  }
  const read = Object.hasOwn(toolPresets, preset) ? toolPresets[preset] : undefined;
  if (read === undefined) throw new PresetUnknown({ preset, known: presetNames });
  const { hosts, problems } = read(configs);
  const rules = hosts.map(({ rule, path }) =>
    makeRule(rule, { action: 'allow', origin: { kind: 'preset', preset, from: path } }),
  );
  const none = `preset ${preset}: no configuration names a host, so it allows nothing; name the hosts in the definition`;
  return { rules, problems: rules.length === 0 ? [...problems, none] : problems };
}

/** What a preset stands on, in a sentence for people. @throws PresetUnknown */
export function presetSource(preset: string): string {
  if (Object.hasOwn(hostPresets, preset)) return hostPresets[preset as keyof typeof hostPresets].source;
  if (!Object.hasOwn(toolPresets, preset)) throw new PresetUnknown({ preset, known: presetNames });
  return 'The hosts that the configuration of the tool itself names.';
}
