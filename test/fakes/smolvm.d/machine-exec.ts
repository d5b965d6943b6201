import { join } from 'node:path';
import { ask, type ExecRequest, FrameReader, send } from './agent-protocol.ts';
import { parseEnv } from './machine-options.ts';
import { NotPartOfDouble, type Release, SmolvmError } from './release.ts';
import { isAlive, type MachineRecord, type Store } from './store.ts';
import { optionOf, type Parsed } from './usage.ts';

/** Of both streams of `--stream` without `-i` (src/agent/client.rs `MAX_STREAMING_EXEC_OUTPUT`). */
const largestStreamed = 11 * 1024 * 1024;

/** `machine exec` (src/cli/machine.rs `ExecCmd`). Ends with the command's status. */
export async function machineExec(_release: Release, store: Store, parsed: Parsed): Promise<void> {
  const name = optionOf(parsed, 'name') ?? 'default';
  const secret = ['secret-env', 'secret-file'].find((flag) => parsed.values.has(flag));
  if (secret !== undefined) throw new NotPartOfDouble(`"machine exec --${secret}"`);
  const { record, socket } = runningMachine(store, name);
  const mode = modeOf(parsed);
  const env = parseEnv([...record.env, ...(parsed.values.get('env') ?? [])]);
  const request: ExecRequest = {
    command: parsed.operands,
    env:
      mode === 'terminal' && !env.some((each) => each.startsWith('TERM='))
        ? [...env, 'TERM=xterm-256color']
        : env,
    workdir: optionOf(parsed, 'workdir') ?? record.workdir,
    mode,
    timeoutMs: durationOf(optionOf(parsed, 'timeout')),
  };
  process.exitCode = await runIn(socket, request);
}

/** The machine, or smolvm's words for one that does not run (src/cli/vm_common.rs `ensure_running_and_connect`). */
export function runningMachine(store: Store, name: string): { record: MachineRecord; socket: string } {
  const record = store.expect(name);
  const { pid, pidStartTime } = record;
  if (pid === null || pidStartTime === null || !isAlive(pid, pidStartTime)) throw notRunning(name);
  return { record, socket: join(store.directoryOf(name), 'agent.sock') };
}

export function notRunning(name: string): SmolvmError {
  return SmolvmError.agent(
    'connect',
    `machine '${name}' is not running. Use 'smolvm machine start --name ${name}' first.`,
  );
}

function modeOf({ values }: Parsed): ExecRequest['mode'] {
  if (values.has('detach')) return 'detached';
  if (values.has('tty')) return 'terminal';
  if (values.has('interactive')) return 'interactive';
  return values.has('stream') ? 'streamed' : 'captured';
}

const operations = {
  captured: 'run command',
  streamed: 'run streaming',
  interactive: 'run interactive',
  terminal: 'run interactive',
  detached: 'run background',
} as const;

async function runIn(socket: string, request: ExecRequest): Promise<number> {
  const operation = operations[request.mode];
  const connection = await ask(socket, { op: 'exec', ...request }).catch(() => {
    throw SmolvmError.agent('connect', 'connection refused');
  });
  const frames = new FrameReader();
  let streamed = 0;
  let hasStarted = false;
  for await (const chunk of connection as AsyncIterable<Buffer>) {
    for (const { kind, data } of frames.push(chunk)) {
      if (kind === 's') {
        hasStarted = true;
        if (request.mode === 'interactive' || request.mode === 'terminal') forwardInput();
      } else if (kind === 'o' || kind === 'r') {
        await write(kind === 'o' ? process.stdout : process.stderr, data);
        streamed += data.length;
      } else if (kind === 'p') {
        process.stdout.write(`${data.toString('latin1')}\n`);
        return finish(0);
      } else if (kind === 'x') {
        return finish(data[0] ?? 1);
      } else if (kind === 'f') {
        process.stdin.destroy();
        throw SmolvmError.agent(operation, data.toString('utf8'));
      }
      if (request.mode === 'streamed' && streamed >= largestStreamed) {
        const words = `streaming output exceeded ${largestStreamed} byte cap; exec terminated (output truncated)`;
        process.stderr.write(`error: ${words}\n`);
        return finish(1);
      }
    }
  }
  process.stdin.destroy();
  if (request.mode === 'streamed' && hasStarted) {
    process.stderr.write('error: agent operation failed: receive response: connection closed by agent\n');
    return 1;
  }
  throw SmolvmError.agent(operation, hasStarted ? 'connection to VM lost' : 'connection closed by agent');

  function finish(status: number): number {
    connection.destroy();
    process.stdin.destroy();
    return status;
  }
  function forwardInput(): void {
    process.stdin.on('data', (data: Buffer) => {
      if (send(connection, 'd', data)) return;
      process.stdin.pause();
      connection.once('drain', () => process.stdin.resume());
    });
    process.stdin.on('end', () => send(connection, 'e'));
    process.stdin.on('error', () => send(connection, 'e'));
  }
}

/** Whoever reads our output may have gone; smolvm does not mind and goes on. */
function write(stream: NodeJS.WriteStream, data: Buffer): Promise<void> {
  return new Promise((resolve) => stream.write(data, () => resolve()));
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** humantime's form, such as `1m 30s` (src/cli/parsers.rs `parse_duration`), in milliseconds. */
export function durationOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  let total = 0;
  for (const [, amount = '', unit = ''] of text.matchAll(/(\d+)\s*([a-z]+)/g)) {
    total += Number(amount) * (units[unit] ?? 0);
  }
  return total;
}
