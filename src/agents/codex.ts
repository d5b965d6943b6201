import { type Program, unlessGiven } from './program.ts';

/** Of `codex --help`: no questions, and no sandbox of its own inside ours, which it could not build without privileges. */
const bypassFlag = '--dangerously-bypass-approvals-and-sandbox';
const keyVariable = 'OPENAI_API_KEY';

/** Codex. Flags and keys as `@openai/codex` 0.169.0 has them: `codex --help`, and `--strict-config` for the file. */
export const codex: Program = {
  // It reads `~/.codex/skills` too, which is where it keeps those that come with it.
  skillsDirectory: '.agents/skills',
  args({ headlessPrompt, bypass, extraArgs }) {
    return [
      ...(headlessPrompt === undefined ? [] : ['exec']),
      ...(bypass ? unlessGiven(bypassFlag, extraArgs) : []),
      ...extraArgs,
      ...(headlessPrompt === undefined ? [] : ['--', headlessPrompt]),
    ];
  },
  files({ workspace, systemPrompt, variables }) {
    const lines = [
      'check_for_update_on_startup = false',
      // A message of the developer's, beside the program's own instructions and the repository's AGENTS.md.
      ...(systemPrompt === '' ? [] : [`developer_instructions = ${tomlString(systemPrompt)}`]),
      ...(variables.includes(keyVariable) ? ['model_provider = "bottle"'] : []),
      '',
      '[analytics]',
      'enabled = false',
      '',
      `[projects.${tomlString(workspace)}]`,
      'trust_level = "trusted"',
      // Its own provider wants a key on disk, from `codex login`; this one takes it out of the environment.
      ...(variables.includes(keyVariable)
        ? [
            '',
            '[model_providers.bottle]',
            'name = "OpenAI"',
            'base_url = "https://api.openai.com/v1"',
            `env_key = "${keyVariable}"`,
            'wire_api = "responses"',
          ]
        : []),
    ];
    return [{ path: '.codex/config.toml', mode: 0o600, content: `${lines.join('\n')}\n` }];
  },
  env: () => ({}),
};

/**
 * A TOML basic string (toml.io/en/v1.0.0#string). JSON's escapes are a part of TOML's, but JSON leaves U+007F as it is,
 * and writes half a surrogate pair as an escape that TOML does not take.
 */
function tomlString(text: string): string {
  return JSON.stringify(text.toWellFormed()).replaceAll('\u007f', '\\u007F');
}
