import { backendNames } from '../backends/names.ts';
import { commandNames } from './names.ts';
import { commandLine, parse } from './command-line.ts';
import { BadValue } from './errors.ts';
import type { World } from './world.ts';

const shells = ['bash', 'zsh', 'fish'] as const;

/** `claude-bottle completion`: prints what makes a shell complete the names of commands and bottles. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = commandLine('completion', world)
    .description('Prints a completion script: eval "$(claude-bottle completion bash)"')
    .argument('<shell>', shells.join(', '));
  if (!parse(command, argv)) return 0;
  const shell = shells.find((known) => known === command.args[0]);
  if (shell === undefined) {
    const help = 'claude-bottle completion --help';
    throw new BadValue({
      what: 'the shell',
      value: command.args[0] ?? '',
      expected: shells.join(', '),
      help,
    });
  }
  world.terminal.stdout.write(scripts[shell](commandNames));
  return 0;
}

/** Names of bottles are asked for as the user types. */
const slugs = 'claude-bottle list --json 2>/dev/null | sed -n \'s/.*"slug": "\\([a-z0-9-]*\\)".*/\\1/p\'';

const scripts: Readonly<Record<(typeof shells)[number], (names: readonly string[]) => string>> = {
  bash: (names) => `_claude_bottle() {
  local word=\${COMP_WORDS[COMP_CWORD]}
  if [ "$COMP_CWORD" = 1 ]; then COMPREPLY=($(compgen -W '${names.join(' ')}' -- "$word"))
  elif [ "\${COMP_WORDS[COMP_CWORD-1]}" = --backend ]; then COMPREPLY=($(compgen -W '${backendNames.join(' ')}' -- "$word"))
  else case \${COMP_WORDS[1]} in
    attach | exec | logs | stop | collect) COMPREPLY=($(compgen -W "$(${slugs})" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac; fi
}
complete -F _claude_bottle claude-bottle
`,
  zsh: (names) => `#compdef claude-bottle
_claude_bottle() {
  if (( CURRENT == 2 )); then compadd -- ${names.join(' ')}
  elif [[ $words[CURRENT-1] == --backend ]]; then compadd -- ${backendNames.join(' ')}
  else case $words[2] in
    attach|exec|logs|stop|collect) compadd -- \${(f)"$(${slugs})"} ;;
    *) _files ;;
  esac; fi
}
compdef _claude_bottle claude-bottle
`,
  fish: (names) => `complete -c claude-bottle -f
complete -c claude-bottle -n __fish_use_subcommand -a '${names.join(' ')}'
complete -c claude-bottle -n '__fish_seen_subcommand_from start' -l backend -x -a '${backendNames.join(' ')}'
complete -c claude-bottle -n '__fish_seen_subcommand_from attach exec logs stop collect' -a "(${slugs.replaceAll('"', '\\"')})"
`,
};
