import type { ChildProcess } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ExecRequest, FrameReader, send } from './agent-protocol.ts';
import type { Containers } from './containers.ts';

const mib = 1024 * 1024;
/** Of each stream in `captured`, and of both together (process.rs `MAX_EXEC_OUTPUT`, main.rs `oversized_output_error`). */
const largestStream = 11 * mib;
const largestOutput = 20 * mib;
const timedOut = 124;

let count = 0;

/** Runs one command for one connection, as the agent does (crates/smolvm-agent/src/main.rs, process.rs). */
export async function runExec(
  containers: Containers,
  connection: Socket,
  request: ExecRequest,
): Promise<void> {
  count += 1;
  const pidFile = join(containers.directory, `exec-${count}.pid`);
  try {
    const isInteractive = request.mode === 'interactive' || request.mode === 'terminal';
    const input = isInteractive || request.mode === 'streamed' ? 'pipe' : 'ignore';
    const output = request.mode === 'detached' ? 'ignore' : 'pipe';
    const child = await containers.exec(request, {
      stdio: [input, output, output],
      pidFile,
      terminal: request.mode === 'terminal',
      detached: request.mode === 'detached',
    });
    if (request.mode === 'detached') return await detached(child, connection, pidFile);
    if (request.mode === 'captured') return await captured(child, connection, request, pidFile);
    return await live(child, connection, request);
  } finally {
    rmSync(pidFile, { force: true });
  }
}

async function detached(child: ChildProcess, connection: Socket, pidFile: string): Promise<void> {
  const code = await exitOf(child);
  if (code === 0) send(connection, 'p', readFileSync(pidFile, 'latin1').trim());
  else send(connection, 'f', `crun exec --detach failed (exit ${code})`);
  connection.end();
}

/** Everything at the end. The command goes with the client, and with its time, its descendants too. */
async function captured(
  child: ChildProcess,
  connection: Socket,
  { timeoutMs }: ExecRequest,
  pidFile: string,
): Promise<void> {
  const streams = [collect(child.stdout), collect(child.stderr)] as const;
  let isLate = false;
  const kill = () => {
    killTree(Number(readFileSync(pidFile, 'latin1')));
    child.kill('SIGKILL');
  };
  const timer = timeoutMs === null ? undefined : setTimeout(() => ((isLate = true), kill()), timeoutMs);
  connection.resume();
  connection.on('end', kill);
  const status = await exitOf(child);
  clearTimeout(timer);
  connection.off('end', kill);
  // A process in the background may keep the streams open; smolvm waits for it, a while.
  if (!isLate) await Promise.race([Promise.all(streams.map(({ ended }) => ended)), sleep(5_000)]);
  const [stdout, stderr] = streams.map(({ chunks }) => Buffer.concat(chunks)) as [Buffer, Buffer];
  const total = stdout.length + stderr.length;
  if (total > largestOutput) {
    send(
      connection,
      'f',
      `command output too large (${total} bytes; limit ${largestOutput}). Redirect large output to a file and ` +
        'download it via the files API — streaming exec is capped at the same output budget.',
    );
    return void connection.end();
  }
  send(connection, 'o', stdout);
  send(
    connection,
    'r',
    isLate ? Buffer.concat([stderr, Buffer.from(`\ncommand timed out after ${timeoutMs}ms`)]) : stderr,
  );
  send(connection, 'x', Buffer.from([isLate ? timedOut : status]));
  connection.end();
}

/**
 * Output as it comes. One loop serves both directions, so while the command does not read its input nobody reads its output
 * (`run_interactive_loop`). If the client goes, crun is killed and the command is not: its input ends, its output breaks.
 */
async function live(
  child: ChildProcess,
  connection: Socket,
  { timeoutMs, mode }: ExecRequest,
): Promise<void> {
  send(connection, 's');
  const outputs = [
    [child.stdout, 'o'],
    [child.stderr, 'r'],
  ] as const;
  const frames = new FrameReader();
  let lastOutput = 0;
  let isWriting = false;
  let isConnectionFull = false;
  const flow = () => {
    for (const [stream] of outputs) {
      if (isWriting || isConnectionFull) stream?.pause();
      else stream?.resume();
    }
    if (isWriting) connection.pause();
    else connection.resume();
  };
  for (const [stream, kind] of outputs) {
    stream?.on('data', (data: Buffer) => {
      lastOutput = Date.now();
      if (send(connection, kind, data)) return;
      isConnectionFull = true;
      flow();
    });
  }
  connection.on('drain', () => {
    isConnectionFull = false;
    flow();
  });
  child.stdin?.on('error', () => undefined);
  connection.on('data', (chunk: Buffer) => {
    for (const { kind, data } of frames.push(chunk)) {
      if (kind === 'e') {
        if (mode === 'terminal') child.stdin?.write('\u0004\u0004');
        else child.stdin?.end();
      } else if (kind === 'd') {
        isWriting = true;
        child.stdin?.write(data, () => {
          isWriting = (child.stdin?.writableLength ?? 0) > 0;
          flow();
        });
        flow();
      }
    }
  });
  const leave = () => {
    child.kill('SIGKILL');
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
  };
  connection.on('end', leave);
  connection.on('close', leave);
  let isLate = false;
  const timer = timeoutMs === null ? undefined : setTimeout(() => ((isLate = true), leave()), timeoutMs);
  flow();
  const status = await exitOf(child);
  clearTimeout(timer);
  isWriting = false;
  flow();
  // What is in the pipes is still passed on; what a process in the background writes later is not.
  const ended = Promise.all(outputs.map(([stream]) => endOf(stream)));
  while (!(await Promise.race([ended.then(() => true), sleep(10)]))) {
    if (!isConnectionFull && Date.now() - lastOutput > 20) break;
  }
  for (const event of ['end', 'close']) connection.off(event, leave);
  for (const [stream] of outputs) stream?.destroy();
  send(connection, 'x', Buffer.from([isLate ? timedOut : status]));
  connection.end();
}

function collect(stream: Readable | null): { chunks: Buffer[]; ended: Promise<void> } {
  const chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    // Nobody reads on: the command blocks or dies of it.
    if (size >= largestStream) stream.destroy();
  });
  return { chunks, ended: endOf(stream) };
}

function endOf(stream: Readable | null): Promise<void> {
  return new Promise((resolve) => {
    if (stream === null || stream.destroyed || stream.readableEnded) resolve();
    else stream.once('close', resolve);
  });
}

/** The exit status, 128 and the signal's number for a death by signal. */
function exitOf(child: ChildProcess): Promise<number> {
  const status = (code: number | null, signal: NodeJS.Signals | null) =>
    code ?? 128 + ({ SIGKILL: 9, SIGTERM: 15, SIGINT: 2, SIGHUP: 1 }[signal as string] ?? 0);
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve(status(child.exitCode, child.signalCode));
  }
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve(status(code, signal))));
}

/** Stops, finds and kills a process and what descends from it (crun.rs `kill_process_tree`). */
function killTree(root: number): void {
  const found: number[] = [];
  const pending = [root];
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    if (!(pid > 1) || !signal(pid, 'SIGSTOP')) continue;
    found.push(pid);
    pending.push(...childrenOf(pid));
  }
  for (const pid of found.reverse()) signal(pid, 'SIGKILL');
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(/\s+/).map(Number);
  } catch {
    return [];
  }
}

function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
