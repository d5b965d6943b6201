import type { Transfer } from '../transfer.ts';

/**
 * Reads a transfer to its end by `work` and makes sure that the engine ended it well. When both sides complain, the
 * engine's words win: a stream that was cut short is only how its failure looks from here.
 */
export async function receive<T>(
  transfer: Transfer,
  work: (bytes: AsyncIterable<Buffer>) => Promise<T>,
  onBytes: ((count: number) => void) | undefined,
): Promise<T> {
  await using open = transfer;
  let result: T;
  try {
    result = await work(counted(open.bytes, onBytes));
  } catch (error) {
    // Only a stream that is over can tell how it ended; one that is not would keep the engine waiting for us.
    if (open.bytes.readableEnded || open.bytes.errored !== null) await open.finish();
    throw error;
  }
  await open.finish();
  return result;
}

/** The rest of the stream is read too: what an engine sends after the end of an archive must not block it. */
async function* counted(
  source: AsyncIterable<Buffer>,
  onBytes: ((count: number) => void) | undefined,
): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    onBytes?.(chunk.length);
    yield chunk;
  }
}
