import { connect, type Socket } from 'node:net';

/** What the CLI asks of a running machine: one line of JSON, then frames both ways. */
export type AgentRequest =
  | { readonly op: 'ping' }
  | { readonly op: 'workload' }
  | { readonly op: 'shutdown' }
  | ({ readonly op: 'exec' } & ExecRequest)
  | {
      readonly op: 'write';
      readonly path: string;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    }
  | { readonly op: 'read'; readonly path: string };

export interface ExecRequest {
  readonly command: readonly string[];
  /** `NAME=VALUE` each, the machine's own included. */
  readonly env: readonly string[];
  readonly workdir: string | null;
  /** `captured` and `detached` have no standard input; of `streamed` it is a pipe that nobody ever closes. */
  readonly mode: 'captured' | 'streamed' | 'interactive' | 'terminal' | 'detached';
  readonly timeoutMs: number | null;
}

/**
 * The kinds of frames: `d` bytes for the command or of a file, `e` their end; `s` started, `o` standard output, `r`
 * standard error, `x` an exit status, `f` a failure's words, `p` a pid, `k` done.
 */
export type FrameKind = 'd' | 'e' | 's' | 'o' | 'r' | 'x' | 'f' | 'p' | 'k';

export interface Frame {
  readonly kind: FrameKind;
  readonly data: Buffer;
}

/** Sends one frame: a letter, a length of four bytes, the payload. Whether the connection takes more at once. */
export function send(connection: Socket, kind: FrameKind, data: Buffer | string = ''): boolean {
  const payload = typeof data === 'string' ? Buffer.from(data) : data;
  const head = Buffer.alloc(5);
  head.write(kind, 0, 'latin1');
  head.writeUInt32BE(payload.length, 1);
  connection.cork();
  connection.write(head);
  const more = connection.write(payload);
  connection.uncork();
  return more;
}

/** Cuts the bytes of a connection into frames. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Frame[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: Frame[] = [];
    while (this.#rest.length >= 5) {
      const end = 5 + this.#rest.readUInt32BE(1);
      if (this.#rest.length < end) break;
      const kind = this.#rest.toString('latin1', 0, 1) as FrameKind;
      frames.push({ kind, data: this.#rest.subarray(5, end) });
      this.#rest = this.#rest.subarray(end);
    }
    return frames;
  }
}

/** Opens a connection to the agent and sends the request. Rejects if nobody listens. */
export function ask(socket: string, request: AgentRequest): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const connection = connect({ path: socket, allowHalfOpen: true }, () => {
      connection.off('error', reject);
      connection.on('error', () => undefined);
      connection.write(`${JSON.stringify(request)}\n`);
      resolve(connection);
    });
    connection.once('error', reject);
  });
}

/** The first frame of the answer; undefined if the connection ends before it, or if it takes longer than that. */
export async function answerOf(
  socket: string,
  request: AgentRequest,
  withinMs: number,
): Promise<Frame | undefined> {
  const connection = await ask(socket, request).catch(() => undefined);
  if (connection === undefined) return undefined;
  return new Promise((resolve) => {
    const frames = new FrameReader();
    const finish = (frame: Frame | undefined) => {
      clearTimeout(timer);
      connection.destroy();
      resolve(frame);
    };
    const timer = setTimeout(finish, withinMs, undefined);
    connection.on('data', (chunk: Buffer) => {
      const [frame] = frames.push(chunk);
      if (frame !== undefined) finish(frame);
    });
    connection.on('close', () => finish(undefined));
    connection.on('end', () => finish(undefined));
  });
}
