import { fileURLToPath } from 'node:url';
import type { MachineCommand } from '../../smolvm/machines.ts';
import type { ForegroundCommand } from '../backend.ts';
import type { SessionKind } from '../init-arguments.ts';

/** A checkout runs its sources, the package what was built from them. */
const program = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './session-client.ts' : './session-client.js', import.meta.url),
);
const modules = fileURLToPath(new URL('../../../bin/modules.cjs', import.meta.url));
/** One that is attached lives as long as whoever attached it wants: it is kept small. V8 reads these at its start. */
const nodeFlags = ['--max-semi-space-size=1', '--disable-warning=ExperimentalWarning'];

/** The client that attaches a terminal to a session at its broker. */
export function attachCommand(socketPath: string, how: 'start' | 'join'): ForegroundCommand {
  return clientCommand(['attach', socketPath, how], {});
}

/** The client that runs a further program in a session of its own. */
export function directCommand(kind: SessionKind, { command, args, env }: MachineCommand): ForegroundCommand {
  return clientCommand(['direct', kind, command, ...args], env);
}

function clientCommand(args: readonly string[], env: ForegroundCommand['env']): ForegroundCommand {
  return { command: process.execPath, args: [...nodeFlags, '--require', modules, program, ...args], env };
}
