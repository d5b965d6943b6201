import { type ChildProcess } from 'node:child_process';
import { closeSync, readFileSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ExecRequest, FrameReader, send } from './agent-protocol.ts';
import type { Containers } from './containers.ts';
import { killTree } from './kill-tree.ts';
import type { Pipes } from './pipes.ts';

const mib = 1024 * 1024;
/** Of each stream in `captured`, and of both together (process.rs `MAX_EXEC_OUTPUT`, main.rs `oversized_output_error`). */
const largestStream = 11 * mib;
const largestOutput = 20 * mib;
const timedOut = 124;
/** Input is passed on by this much. */
const inputPiece = 32 * 1024;
/** What a command can write while a piece of its input waits: a pipe's worth, and one for what was there before. */
const blockedOutput = 128 * 1024;

let count = 0;

/** A command that runs, with our ends of its pipes. */
interface Running {
  readonly child: ChildProcess;
  readonly exit: Promise<number>;
  readonly stdin: Socket | undefined;
  readonly stdout: Socket;
  readonly stderr: Socket;
}

/** Runs one command for one connection, as the agent does (crates/smolvm-agent/src/main.rs, process.rs). */
export async function runExec(
  containers: Containers,
  pipes: Pipes,
  connection: Socket,
  request: ExecRequest,
): Promise<void> {
  count += 1;
  const pidFile = join(containers.directory, `exec-${count}.pid`);
  try {
    if (request.mode === 'detached') return await detached(containers, connection, request, pidFile);
    const running = await start(containers, pipes, request, pidFile);
    if (request.mode === 'captured') return await captured(running, connection, request, pidFile);
    return await new Live(running, connection, request).run();
  } finally {
    rmSync(pidFile, { force: true });
  }
}

async function start(
  containers: Containers,
  pipes: Pipes,
  request: ExecRequest,
  pidFile: string,
): Promise<Running> {
  const input = request.mode === 'captured' ? undefined : await pipes.toChild();
  const [output, errors] = [await pipes.fromChild(), await pipes.fromChild()];
  const child = await containers
    .exec(request, {
      stdio: [input?.theirs ?? 'ignore', output.theirs, errors.theirs],
      pidFile,
      terminal: request.mode === 'terminal',
    })
    .finally(() => {
      for (const pipe of [input, output, errors]) if (pipe !== undefined) closeSync(pipe.theirs);
    });
  input?.ours.on('error', () => undefined);
  return {
    child,
    exit: exitOf(child),
    stdin: input?.ours,
    stdout: output.ours,
    stderr: errors.ours,
  };
}

async function detached(
  containers: Containers,
  connection: Socket,
  request: ExecRequest,
  pidFile: string,
): Promise<void> {
  const child = await containers.exec(request, { stdio: 'ignore', pidFile, detached: true });
  const code = await exitOf(child);
  if (code === 0) send(connection, 'p', readFileSync(pidFile, 'latin1').trim());
  else send(connection, 'f', `crun exec --detach failed (exit ${code})`);
  connection.end();
}

/** Everything at the end. The command goes with the client, and with its time, its descendants too. */
async function captured(
  { child, exit, stdout, stderr }: Running,
  connection: Socket,
  { timeoutMs }: ExecRequest,
  pidFile: string,
): Promise<void> {
  const streams = [stdout, stderr].map(collect);
  const aborted = { is: false };
  const abort = () => {
    aborted.is = true;
    killTree(pidFile);
    child.kill('SIGKILL');
  };
  const timer = timeoutMs === null ? undefined : setTimeout(abort, timeoutMs);
  connection.resume();
  for (const event of ['end', 'close']) connection.on(event, abort);
  const status = await exit;
  clearTimeout(timer);
  for (const event of ['end', 'close']) connection.off(event, abort);
  // A process in the background may keep the streams open; smolvm waits for it, a while.
  if (!aborted.is) await Promise.race([Promise.all(streams.map(({ ended }) => ended)), sleep(5_000)]);
  const [out = Buffer.alloc(0), err = Buffer.alloc(0)] = streams.map(({ chunks }) => Buffer.concat(chunks));
  for (const stream of [stdout, stderr]) stream.destroy();
  const total = out.length + err.length;
  if (total > largestOutput) {
    send(
      connection,
      'f',
      `command output too large (${total} bytes; limit ${largestOutput}). Redirect large output to a file and ` +
        'download it via the files API — streaming exec is capped at the same output budget.',
    );
    connection.end();
    return;
  }
  send(connection, 'o', out);
  const late = Buffer.from(aborted.is ? `\ncommand timed out after ${timeoutMs}ms` : '');
  send(connection, 'r', Buffer.concat([err, late]));
  send(connection, 'x', Buffer.from([aborted.is ? timedOut : status]));
  connection.end();
}

/**
 * Output as it comes. One loop serves both directions, so a command that does not read its input before it has written much
 * is stuck for ever (`run_interactive_loop`). If the client goes, crun is killed and the command is not: its input ends, its
 * output breaks.
 */
class Live {
  readonly #running: Running;
  readonly #connection: Socket;
  readonly #request: ExecRequest;
  readonly #frames = new FrameReader();
  readonly #input: (Buffer | 'end')[] = [];
  #isFeeding = false;
  #isWriting = false;
  #unread = 0;
  #isConnectionFull = false;
  #isLate = false;
  #lastOutput = 0;

  constructor(running: Running, connection: Socket, request: ExecRequest) {
    this.#running = running;
    this.#connection = connection;
    this.#request = request;
  }

  async run(): Promise<void> {
    const { exit, stdout, stderr } = this.#running;
    const connection = this.#connection;
    const { timeoutMs } = this.#request;
    send(connection, 's');
    stdout.on('data', (data: Buffer) => this.#pass('o', data));
    stderr.on('data', (data: Buffer) => this.#pass('r', data));
    connection.on('drain', () => {
      this.#isConnectionFull = false;
      this.#flow();
    });
    connection.on('data', (chunk: Buffer) => this.#take(chunk));
    const leave = () => this.#leave();
    for (const event of ['end', 'close']) connection.on(event, leave);
    const late = () => {
      this.#isLate = true;
      this.#leave();
    };
    const timer = timeoutMs === null ? undefined : setTimeout(late, timeoutMs);
    const ended = Promise.all([stdout, stderr].map(endOf));
    this.#flow();
    const status = await exit;
    clearTimeout(timer);
    this.#isWriting = false;
    this.#input.length = 0;
    this.#flow();
    // What is in the pipes is still passed on; what a process in the background writes later is not.
    while (!(await Promise.race([ended.then(() => true), sleep(10, false)]))) {
      if (!this.#isConnectionFull && Date.now() - this.#lastOutput > 20) break;
    }
    for (const event of ['end', 'close']) connection.off(event, leave);
    this.#closePipes();
    send(connection, 'x', Buffer.from([this.#isLate ? timedOut : status]));
    connection.end();
  }

  #pass(kind: 'o' | 'r', data: Buffer): void {
    this.#lastOutput = Date.now();
    this.#unread -= data.length;
    if (!send(this.#connection, kind, data)) this.#isConnectionFull = true;
    this.#flow();
  }

  #take(chunk: Buffer): void {
    for (const { kind, data } of this.#frames.push(chunk)) {
      if (kind === 'e') this.#input.push('end');
      if (kind !== 'd') continue;
      for (let at = 0; at < data.length; at += inputPiece) {
        this.#input.push(data.subarray(at, at + inputPiece));
      }
    }
    if (!this.#isFeeding) this.#feed();
  }

  #feed(): void {
    const piece = this.#input.shift();
    this.#isFeeding = piece !== undefined;
    if (piece === 'end') {
      this.#isFeeding = false;
      this.#running.stdin?.end();
    } else if (piece !== undefined) {
      this.#isWriting = true;
      this.#unread = blockedOutput;
      this.#running.stdin?.write(piece, () => {
        this.#isWriting = false;
        this.#flow();
        // Output gets its turn between two pieces.
        setImmediate(() => this.#feed());
      });
    }
    this.#flow();
  }

  #flow(): void {
    for (const stream of [this.#running.stdout, this.#running.stderr]) {
      if ((this.#isWriting && this.#unread <= 0) || this.#isConnectionFull) stream.pause();
      else stream.resume();
    }
    if (this.#input.length > 0) this.#connection.pause();
    else this.#connection.resume();
  }

  #leave(): void {
    this.#running.child.kill('SIGKILL');
    this.#closePipes();
  }

  #closePipes(): void {
    const { stdin, stdout, stderr } = this.#running;
    for (const stream of [stdin, stdout, stderr]) stream?.destroy();
  }
}

function collect(stream: Socket): { chunks: Buffer[]; ended: Promise<void> } {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    // Nobody reads on: the command breaks at it.
    if (size >= largestStream) stream.destroy();
  });
  return { chunks, ended: endOf(stream) };
}

function endOf(stream: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || stream.readableEnded) resolve();
    for (const event of ['end', 'close']) stream.once(event, () => resolve());
  });
}

/** The exit status, 128 and the signal's number for a death by signal. */
function exitOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    const settle = (code: number | null, signal: NodeJS.Signals | null) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    if (child.exitCode !== null || child.signalCode !== null) settle(child.exitCode, child.signalCode);
    else child.once('exit', settle);
  });
}
