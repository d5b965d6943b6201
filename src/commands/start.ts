import { Supervisor } from '../bottles/supervisor-client.ts';
import type { World } from './world.ts';

/** `claude-bottle start`, the main job. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  // Where nobody will be asked, the supervisor loads its programs while this command loads its own. It does nothing
  // before its order, and an order comes only after a yes.
  const early = asksNothing(argv) ? await Supervisor.start() : undefined;
  try {
    const { runStart } = await import('./start-run.ts');
    return await runStart(argv, world, early);
  } finally {
    await early?.dismissUnordered();
  }
}

/** Whether the command line says yes, as it looks: what it means in full is found out later. */
function asksNothing(argv: readonly string[]): boolean {
  const dashes = argv.indexOf('--');
  const flags = dashes < 0 ? argv : argv.slice(0, dashes);
  const has = (...names: string[]) => names.some((name) => flags.includes(name));
  return has('--yes', '-y', '--headless') && !has('--dry-run', '--help', '-h');
}
