import { finished } from 'node:stream/promises';
import type { Readable } from 'node:stream';
import { apiRequest, bodyOf, messageOf } from './api.ts';
import { unanswered } from './call.ts';
import { type Engine, signalOf } from './engine.ts';

export interface TransferOptions {
  readonly signal?: AbortSignal;
}

/** Bytes on their way out of the engine. Disposing stops the engine's work on them. */
export interface Transfer extends AsyncDisposable {
  readonly bytes: Readable;
  /**
   * Call after the last byte: throws the engine's own words when it ended for another reason than being done, which a
   * stream's end alone does not tell.
   */
  finish(): Promise<void>;
}

/** What one transfer is, both ways. */
export interface TransferRequest {
  /** How it is called in a failure: `image save`. */
  readonly request: string;
  readonly subject: string;
  readonly path: string;
  readonly args: readonly string[];
}

/**
 * Starts a transfer: over the socket where there is one, which spares the CLI's copy of every byte, else through the
 * CLI. Both yield the same bytes.
 * @throws the failure of the engine when it refuses at once.
 */
export function transfer(engine: Engine, what: TransferRequest, options: TransferOptions): Promise<Transfer> {
  return engine.socket === undefined
    ? Promise.resolve(throughCli(engine, what, options))
    : overSocket(engine, engine.socket, what, options);
}

async function overSocket(
  engine: Engine,
  socket: string,
  what: TransferRequest,
  options: TransferOptions,
): Promise<Transfer> {
  const fail = (words: string) => engine.failure(what.request, { code: 1, stderr: words }, what.subject);
  const response = await apiRequest(socket, what.path, signalOf(options.signal)).catch(
    (error: NodeJS.ErrnoException) => {
      options.signal?.throwIfAborted();
      throw isNobody(error) ? unanswered(engine, socket, error) : fail(error.message);
    },
  );
  if (response.statusCode !== 200) throw fail(messageOf(await bodyOf(response)));
  return {
    bytes: response,
    async finish() {
      options.signal?.throwIfAborted();
      await finished(response).catch((error: Error) => {
        options.signal?.throwIfAborted();
        throw fail(error.message);
      });
      if (!response.complete) throw fail('the engine hung up in the middle');
    },
    [Symbol.asyncDispose]() {
      response.on('error', () => undefined);
      response.destroy();
      return Promise.resolve();
    },
  };
}

/** Whether there was nobody to talk to: what breaks later may work in another way. */
function isNobody(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ECONNREFUSED' || error.code === 'ENOENT' || error.code === 'EACCES';
}

function throughCli(engine: Engine, what: TransferRequest, options: TransferOptions): Transfer {
  const child = engine.stream(what.args, signalOf(options.signal));
  return {
    bytes: child.stdout,
    async finish() {
      const result = await child.done;
      if (result.code !== 0) throw engine.failure(what.request, result, what.subject);
    },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}
