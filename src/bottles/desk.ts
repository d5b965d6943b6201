import { chmod, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { fit } from '../schema.ts';
import { ControlSocketUnusable } from './errors.ts';
import { type FailureMessage, fromMessage, MessageLine, toMessage } from './line.ts';
import { Request } from './messages.ts';

type Answer = { readonly result: unknown } | { readonly failure: FailureMessage };

/**
 * Where a supervisor answers other commands of the same user: one request and one answer a connection, on a socket that
 * only this user can reach.
 */
export class Desk implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(answer: (request: Request) => Promise<unknown>) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      void serve(socket, answer);
    });
  }

  /** @throws ControlSocketUnusable */
  static async open(path: string, answer: (request: Request) => Promise<unknown>): Promise<Desk> {
    const desk = new Desk(answer);
    await rm(path, { force: true });
    try {
      await new Promise<void>((resolve, reject) => {
        desk.#server.once('error', reject);
        desk.#server.listen(path, resolve);
      });
      await chmod(path, 0o600);
    } catch (error) {
      desk.#server.close();
      throw new ControlSocketUnusable({ path, code: (error as NodeJS.ErrnoException).code ?? 'unknown' });
    }
    return desk;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    // Answers under way get out first.
    for (const socket of this.#sockets) socket.end();
  }
}

async function serve(socket: Socket, answer: (request: Request) => Promise<unknown>): Promise<void> {
  const line = new MessageLine(socket, socket);
  line.listen((message) => {
    void reply(message, answer).then((reply) => {
      line.send(reply);
      socket.end();
    });
  });
}

async function reply(message: unknown, answer: (request: Request) => Promise<unknown>): Promise<Answer> {
  try {
    return { result: (await answer(fit(Request, message))) ?? null };
  } catch (error) {
    return { failure: toMessage(error) };
  }
}

/**
 * Asks a supervisor at its desk.
 * @returns the answer; `undefined` when nobody answers there.
 * @throws the failure that the supervisor met.
 */
export async function askDesk(path: string, request: Request): Promise<unknown> {
  const socket = connect(path);
  const line = new MessageLine(socket, socket);
  const answered = new Promise<Answer | undefined>((resolve) => {
    line.listen((message) => resolve(message as Answer));
    void line.closed.then(() => resolve(undefined));
    socket.once('error', () => resolve(undefined));
  });
  line.send(request);
  const answer = await answered;
  socket.destroy();
  if (answer !== undefined && 'failure' in answer) throw fromMessage(answer.failure);
  return answer?.result;
}
