import type { EnvValue } from './definition.ts';
import { variableName } from './env-fields.ts';
import { EnvUnusable, HostVariableMissing, PromptImpossible } from './errors.ts';

export interface EnvSources {
  readonly hostEnv: Readonly<Record<string, string | undefined>>;
  /** Asks without an echo. Absent where there is nobody to ask. The message may be empty. */
  readonly ask?: (name: string, message: string) => Promise<string>;
}

/**
 * Gives every variable its value. Nothing is asked for before everything else is known to be there.
 * @throws HostVariableMissing for all that are missing, PromptImpossible, EnvUnusable
 */
export async function resolveEnv(
  env: Readonly<Record<string, EnvValue>>,
  sources: EnvSources,
): Promise<Record<string, string>> {
  const { hostEnv, ask } = sources;
  const entries = Object.entries(env);
  for (const [name] of entries)
    if (!variableName.test(name)) throw new EnvUnusable({ name, problem: 'name' });
  const missing = entries.flatMap(([name, value]) =>
    value.kind === 'host' && ownValue(hostEnv, value.variable) === undefined
      ? [{ name, variable: value.variable }]
      : [],
  );
  if (missing.length > 0) throw new HostVariableMissing({ missing });
  const prompts = entries.flatMap(([name, { kind }]) => (kind === 'prompt' ? [name] : []));
  if (prompts.length > 0 && ask === undefined) throw new PromptImpossible({ names: prompts });

  const resolved = new Map<string, string>();
  for (const [name, value] of entries) {
    const text = await valueOf(name, value, sources);
    if (text.includes('\0')) throw new EnvUnusable({ name, problem: 'nul' });
    resolved.set(name, text);
  }
  return Object.fromEntries(resolved);
}

async function valueOf(name: string, value: EnvValue, { hostEnv, ask }: EnvSources): Promise<string> {
  switch (value.kind) {
    case 'literal':
      return value.value;
    case 'host': {
      const text = ownValue(hostEnv, value.variable);
      if (text === undefined)
        throw new HostVariableMissing({ missing: [{ name, variable: value.variable }] });
      return text;
    }
    case 'prompt':
      if (ask === undefined) throw new PromptImpossible({ names: [name] });
      return ask(name, value.message);
  }
}

/** A variable may be called like something that every object has. */
function ownValue(hostEnv: EnvSources['hostEnv'], variable: string): string | undefined {
  return Object.hasOwn(hostEnv, variable) ? hostEnv[variable] : undefined;
}
