import { handleOn, knownBottle } from '../bottles/host.ts';
import { isatty } from 'node:tty';
import { BottleNotRunning } from '../bottles/errors.ts';
import { runForeground } from '../process/foreground.ts';
import { BadUsage, commandLine, parse } from './command-line.ts';
import { openBottles } from './world-bottles.ts';
import type { World } from './world.ts';

/** `claude-bottle exec`: a further program in a bottle that runs. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = commandLine('exec', world)
    .description(
      'Runs a further program in a bottle, as the agent’s user, with its variables and behind the same gate.\nThe exit code is the program’s.',
    )
    .usage('[options] <bottle> [--] <command...>')
    .argument('<bottle>', 'its name, as list has it')
    .argument('<command...>', 'the program and its arguments')
    .option('--root', 'as root, with no more rights than the bottle has', false)
    .option('--workdir <directory>', 'where to start (default: the workspace)')
    .option('-T, --no-tty', 'no terminal, also where there is one')
    .passThroughOptions();
  if (!parse(command, argv)) return 0;
  const flags = command.opts<{ root: boolean; workdir?: string; tty: boolean }>();
  const [slug = '', ...words] = command.args;
  const program = words[0] === '--' ? words.slice(1) : words;
  if (program.length === 0) {
    throw new BadUsage({ problem: 'there is no command', hint: 'claude-bottle exec --help' });
  }
  const known = await knownBottle(await openBottles(world), slug);
  if (known.record.phase !== 'running') throw new BottleNotRunning({ slug, state: known.record.phase });
  const bottle = await handleOn(known, world.signal);
  const { code } = await runForeground(
    await bottle.foreground(program, {
      as: flags.root ? 'root' : 'image',
      workdir: flags.workdir ?? known.record.workdir,
      terminal: flags.tty && isatty(0) && isatty(1),
    }),
    { signal: world.signal },
  );
  return code;
}
