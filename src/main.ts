import { commands } from './commands/catalogue.ts';
import { commandNames } from './commands/names.ts';
import type { World } from './commands/world.ts';
import { Interrupted } from './process/errors.ts';
import { openTerminal } from './terminal/terminal.ts';

/** Runs one command line and sets the process's exit code. Never throws. */
export async function main(argv: readonly string[]): Promise<void> {
  const terminal = openTerminal(process.env);
  const interruption = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // The first signal unwinds; further ones must not cut the unwinding short.
    process.on(name, () => interruption.abort(new Interrupted({ signal: name })));
  }
  // A reader that has seen enough (`| head`) ends us like SIGPIPE would, but not before everything is undone.
  process.stdout.on('error', () => interruption.abort(new Interrupted({ signal: 'SIGPIPE' })));
  // A terminal that was closed has nobody left to tell; its SIGHUP does the rest.
  process.stderr.on('error', () => undefined);
  try {
    process.exitCode = await dispatch(argv, {
      terminal,
      environment: process.env,
      signal: interruption.signal,
    });
    // What was written last may still be on its way, and its reader gone.
    await new Promise((resolve) => process.stdout.write('', resolve));
    interruption.signal.throwIfAborted();
  } catch (error) {
    const [{ explain }, { printMessage }] = await Promise.all([
      import('./commands/failures.ts'),
      import('./terminal/message.ts'),
    ]);
    const message = explain(error);
    // Whoever has read enough knows.
    const isReadEnough = error instanceof Interrupted && error.fields.signal === 'SIGPIPE';
    if (!isReadEnough) printMessage(terminal, message);
    process.exitCode = message.exitCode;
  }
}

async function dispatch(argv: readonly string[], world: World): Promise<number> {
  const [name = '--help', ...rest] = argv;
  if (name === '--version' || name === '-V') {
    const { version } = await import('./version.ts');
    world.terminal.stdout.write(`${version()}\n`);
    return 0;
  }
  if (name === '--help' || name === '-h' || name === 'help') {
    if (rest[0] !== undefined) return dispatch([rest[0], '--help'], world);
    world.terminal.stdout.write(usage());
    return 0;
  }
  const known = commandNames.find((command) => command === name);
  if (known !== undefined) return (await commands[known].load()).run(rest, world);
  const { unknownCommand } = await import('./commands/command-line.ts');
  throw unknownCommand(name, commandNames);
}

function usage(): string {
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`);
  return `Usage: claude-bottle <command> [options]

Runs a coding agent in a disposable, sealed bottle made from your own Dockerfile.

Commands:
${lines.join('\n')}

  claude-bottle <command> --help   what a command takes
  claude-bottle --version          which version this is
`;
}
