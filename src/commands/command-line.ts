import { Command, CommanderError } from 'commander';
import { nearest } from '../definitions/spelling.ts';
import { failure } from '../failure.ts';
import type { World } from './world.ts';

/** The command line cannot be understood. */
export class BadUsage extends failure('BadUsage')<{ problem: string; hint: string }> {}

/** A command whose help goes to standard output and whose mistakes become `BadUsage`. */
export function commandLine(name: string, world: World): Command {
  return (
    new Command(`claude-bottle ${name}`)
      .exitOverride()
      .helpOption('-h, --help', 'show this help')
      .allowExcessArguments(false)
      // What is said of an option names its choices and its default where they matter.
      .configureHelp({ optionDescription: ({ description }) => description })
      .configureOutput({ writeOut: (text) => world.terminal.stdout.write(text), writeErr: () => undefined })
  );
}

/**
 * Parses arguments.
 * @returns whether the command should go on; not so after `--help`.
 * @throws BadUsage
 */
export function parse(command: Command, argv: readonly string[]): boolean {
  try {
    command.parse([...argv], { from: 'user' });
    return true;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === 'commander.helpDisplayed' || error.code === 'commander.help') return false;
    const problem = error.message.replace(/^error: /, '').replace(/\n/g, ' ');
    throw new BadUsage({ problem, hint: `${command.name()} --help` });
  }
}

export function unknownCommand(name: string, known: readonly string[]): BadUsage {
  const near = known.find((candidate) => candidate.startsWith(name)) ?? nearest(name, known);
  const suggestion = near === undefined ? '' : ` (did you mean ${near}?)`;
  return new BadUsage({
    problem: `there is no command ${JSON.stringify(name)}${suggestion}`,
    hint: 'claude-bottle --help',
  });
}
