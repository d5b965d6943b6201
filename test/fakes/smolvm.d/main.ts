import { existsSync } from 'node:fs';
import {
  machineCreateCommand,
  machineSubcommands,
  packCreateCommand,
  packPruneCommand,
  packRunCommand,
  packSubcommands,
} from './commands.ts';
import { machineCommand } from './machine-commands.ts';
import { chosenRelease, NotPartOfDouble, type Release, SmolvmError } from './release.ts';
import { HelpAsked, parse, UsageError } from './usage.ts';

const notPart = 70;

const topHelp = `Build and run portable, self-contained virtual machines

Usage: smolvm <COMMAND>

Commands:
  machine  Manage machines [aliases: vm]
  serve    Start the HTTP API server for programmatic control
  pack     Package and run self-contained VM executables
  config   Manage smolvm configuration (registries, defaults)
  help     Print this message or the help of the given subcommand(s)

Options:
  -h, --help     Print help
  -V, --version  Print version
`;

async function dispatch(release: Release, args: readonly string[]): Promise<void> {
  const [command, subcommand, ...rest] = args;
  switch (command) {
    case undefined:
      throw new UsageError(topHelp);
    case '--version':
    case '-V':
      process.stdout.write(`smolvm ${release.version}\n`);
      return;
    case '--help':
    case '-h':
    case 'help':
      throw new HelpAsked(topHelp);
    case '_boot-vm':
      return (await import('./machine.ts')).runMachine(subcommand ?? '');
    case 'machine':
    case 'vm':
      known('machine', subcommand, machineSubcommands(release));
      return machine(release, subcommand ?? '', rest);
    case 'pack':
      known('pack', subcommand, packSubcommands);
      if (subcommand === 'create') {
        const parsed = parse(packCreateCommand(release), rest);
        return (await import('./pack-create.ts')).packCreate(release, parsed);
      }
      if (subcommand === 'run') {
        const parsed = parse(packRunCommand(release), rest);
        return (await import('./pack-run.ts')).packRun(release, parsed);
      }
      if (subcommand === 'prune') {
        const parsed = parse(packPruneCommand, rest);
        const [{ packPrune }, { Host }] = await Promise.all([import('./pack-prune.ts'), import('./host.ts')]);
        return packPrune(release, new Host(release), parsed);
      }
      throw new NotPartOfDouble(`"pack ${subcommand}"`);
    case 'serve':
    case 'config':
      throw new NotPartOfDouble(`"${command}"`);
    default:
      throw new UsageError(
        command.startsWith('-')
          ? `error: unexpected argument '${command}' found\n\nUsage: smolvm <COMMAND>\n\nFor more information, try '--help'.\n`
          : `error: unrecognized subcommand '${command}'\n\nUsage: smolvm <COMMAND>\n\nFor more information, try '--help'.\n`,
      );
  }
}

async function machine(release: Release, subcommand: string, rest: readonly string[]): Promise<void> {
  const command =
    subcommand === 'create' ? machineCreateCommand(release) : machineCommand(release, subcommand);
  if (command === undefined) throw new NotPartOfDouble(`"machine ${subcommand}"`);
  const parsed = parse(command, rest);
  const { runMachineCommand } = await import('./machine-main.ts');
  return runMachineCommand(release, subcommand, parsed);
}

function known(group: string, name: string | undefined, names: readonly string[]): void {
  const help = `Usage: smolvm ${group} <COMMAND>\n\nCommands:\n${names.map((each) => `  ${each}\n`).join('')}`;
  if (name === '--help' || name === '-h') throw new HelpAsked(help);
  if (name === undefined) throw new UsageError(help);
  if (!names.includes(name)) {
    throw new UsageError(
      `error: unrecognized subcommand '${name}'\n\nUsage: smolvm ${group} <COMMAND>\n\nFor more information, try '--help'.\n`,
    );
  }
}

try {
  if (existsSync(`${process.env.FAKE_SMOLVM_EXECUTABLE}.smolmachine`)) {
    throw new NotPartOfDouble('being a packed binary, which smolvm is with a .smolmachine beside it');
  }
  await dispatch(chosenRelease(), process.argv.slice(2));
} catch (error) {
  if (error instanceof HelpAsked) {
    process.stdout.write(error.message);
  } else if (error instanceof UsageError) {
    process.stderr.write(error.message);
    process.exitCode = 2;
  } else if (error instanceof NotPartOfDouble) {
    process.stderr.write(`smolvm double: ${error.message} is not part of this double\n`);
    process.exitCode = notPart;
  } else if (error instanceof SmolvmError) {
    process.stderr.write(`Error: ${error.message}\n`);
    process.exitCode = 1;
  } else {
    throw error;
  }
}
