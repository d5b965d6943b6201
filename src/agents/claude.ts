import { type Program, unlessGiven } from './program.ts';

/**
 * Claude Code. Flags, keys and variables as `@anthropic-ai/claude-code` 2.1.331 has them: `claude --help`, and what its
 * code reads (`--append-system-prompt-file` is in the code, not in the help).
 */
export const claude: Program = {
  skillsDirectory: '.claude/skills',
  args({ systemPromptPath, systemPrompt, headlessPrompt, bypass, extraArgs }) {
    return [
      ...(bypass ? unlessGiven('--dangerously-skip-permissions', extraArgs) : []),
      ...(systemPrompt === '' ? [] : ['--append-system-prompt-file', systemPromptPath]),
      ...extraArgs,
      // What follows `--` is a prompt even when it begins with a dash.
      ...(headlessPrompt === undefined ? [] : [...unlessGiven('-p', extraArgs), '--', headlessPrompt]),
    ];
  },
  files({ workspace, bypass }) {
    const state = {
      hasCompletedOnboarding: true,
      theme: 'dark',
      // At its first start the program moves this to `skipDangerousModePermissionPrompt` in `~/.claude/settings.json`,
      // which so stays the image's own.
      ...(bypass ? { bypassPermissionsModeAccepted: true } : {}),
      projects: { [workspace]: { hasTrustDialogAccepted: true } },
    };
    return [{ path: '.claude.json', mode: 0o600, content: `${JSON.stringify(state, undefined, 2)}\n` }];
  },
  env: ({ isRoot, bypass }) => ({
    // No telemetry, error reports, update checks: the gate would refuse them one by one, each after a wait.
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    DISABLE_ERROR_REPORTING: '1',
    DISABLE_AUTOUPDATER: '1',
    // As root it refuses to act without asking unless it is told that it is in a sandbox. It is.
    ...(isRoot && bypass ? { IS_SANDBOX: '1' } : {}),
  }),
};
