import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { ControlSocketUnusable } from './errors.ts';
import { goMessage } from './init-channel.ts';

/**
 * Tells a bottle's variables to whoever asks inside it: further programs that the user starts there. What runs in the
 * bottle has them anyway, so nobody learns anything here; and no engine is told of them, which would write them to a disk.
 */
export class VariablesSocket implements AsyncDisposable {
  readonly #server: Server;
  readonly #path: string;

  private constructor(path: string, env: Readonly<Record<string, string>>) {
    this.#path = path;
    this.#server = createServer((socket) => {
      socket.on('error', () => undefined);
      // Whoever asks has nothing to say.
      socket.resume();
      socket.end(goMessage(env));
    });
    this.#server.maxConnections = maxConnections;
  }

  /** @throws ControlSocketUnusable */
  static async listen(path: string, env: Readonly<Record<string, string>>): Promise<VariablesSocket> {
    const socket = new VariablesSocket(path, env);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.#server.once('error', reject);
        socket.#server.listen(path, resolve);
      });
      await chmod(path, 0o666);
    } catch (error) {
      socket.#server.close();
      throw new ControlSocketUnusable({ path, code: (error as NodeJS.ErrnoException).code ?? 'unknown' });
    }
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await rm(this.#path, { force: true });
  }
}

/** Whoever holds connections open in the bottle keeps only the user's own `exec` from its variables. */
const maxConnections = 64;
