import { explain } from '../../src/commands/failures.ts';
import { run } from '../../src/commands/init.ts';
import { Interrupted } from '../../src/process/errors.ts';
import { printMessage } from '../../src/terminal/message.ts';
import { openTerminal } from '../../src/terminal/terminal.ts';

// `init` as a program of its own, with signals as main.ts has them.

const terminal = openTerminal(process.env);
const interruption = new AbortController();
process.on('SIGINT', () => interruption.abort(new Interrupted({ signal: 'SIGINT' })));
try {
  process.exitCode = await run(process.argv.slice(2), {
    terminal,
    environment: process.env,
    signal: interruption.signal,
  });
} catch (error) {
  const message = explain(error);
  printMessage(terminal, message);
  process.exitCode = message.exitCode;
}
