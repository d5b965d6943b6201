import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toolPresetNames, presetRules } from '../gate/presets/presets.ts';
import type { Rule } from '../gate/rule.ts';
import type { ConfigText } from '../gate/tool-config.ts';
import type { World } from './world.ts';

export interface HostPresets {
  readonly rules: readonly Rule[];
  /** Those whose hosts may also stand in the configuration of the image's own tools. */
  readonly fromImage: readonly string[];
  readonly problems: readonly string[];
}

/** Configuration files are short; what is longer is none. */
const maxBytes = 1024 * 1024;

/**
 * The rules of presets, as far as this host knows them: those that read a tool's configuration read the user's own
 * here. Never a repository's: its files may not widen what is allowed.
 * @throws PresetUnknown
 */
export async function hostPresets(
  names: readonly string[],
  home: string,
  env: World['environment'],
): Promise<HostPresets> {
  const reads = names.some((name) => toolPresetNames.includes(name));
  const configs = {
    npm: reads ? await texts([join(home, '.npmrc')]) : [],
    pip: reads
      ? await texts([join(home, '.config/pip/pip.conf'), join(home, '.pip/pip.conf'), '/etc/pip.conf'])
      : [],
    apt: [],
    env,
  };
  const found = names.map((name) => ({ name, ...presetRules(name, configs) }));
  return {
    rules: found.flatMap(({ rules }) => rules),
    fromImage: names.filter((name) => toolPresetNames.includes(name)),
    // That nothing was found here says nothing about the image.
    problems: found.flatMap(({ name, problems }) => (toolPresetNames.includes(name) ? [] : problems)),
  };
}

async function texts(paths: readonly string[]): Promise<ConfigText[]> {
  const found = await Promise.all(
    paths.map(async (path) => {
      const text = await readFile(path, 'utf8').catch(() => undefined);
      return text === undefined || text.length > maxBytes ? [] : [{ path, text }];
    }),
  );
  return found.flat();
}
