import type { RuleInput } from '../rule.ts';

/** Rules that belong together, as data. A module and not JSON, so that the built package has it without further steps. */
export interface HostPreset {
  /** Where the facts are from, and what the user must know. */
  readonly source: string;
  readonly rules: readonly RuleInput[];
}

const tls = [443];

export const hostPresets = {
  none: {
    source: 'No host at all.',
    rules: [],
  },
  anthropic: {
    source:
      'code.claude.com/docs, "Enterprise network configuration", network access requirements: the API, and the two ' +
      'hosts of signing in. Telemetry and error reports are left out: Claude Code works without them.',
    rules: [
      { host: 'api.anthropic.com', ports: tls },
      { host: 'claude.ai', ports: tls },
      { host: 'platform.claude.com', ports: tls },
    ],
  },
  openai: {
    source:
      'developers.openai.com/codex/auth: the API with a key; auth.openai.com and chatgpt.com for signing in with ChatGPT, ' +
      'where Codex then sends its requests.',
    rules: [
      { host: 'api.openai.com', ports: tls },
      { host: 'auth.openai.com', ports: tls },
      { host: 'chatgpt.com', ports: tls },
    ],
  },
  'github-read': {
    source:
      'docs.github.com, "Communicating with self-hosted runners" and "About the REST API": clone, archives, raw files, ' +
      'release assets, the API. Over http only GET and HEAD go through. Over https the gate sees neither method nor path: ' +
      'there it is the absence of credentials in the bottle that keeps it read-only, so do not put a token in.',
    rules: [
      ...[
        'github.com',
        'api.github.com',
        'codeload.github.com',
        'raw.githubusercontent.com',
        'objects.githubusercontent.com',
        'release-assets.githubusercontent.com',
      ].flatMap((host): RuleInput[] => [
        { host, ports: tls },
        { host, ports: [80], methods: ['GET', 'HEAD'] },
      ]),
    ],
  },
} as const satisfies Record<string, HostPreset>;
