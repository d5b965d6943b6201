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
  let over = false;
  let result: T;
  try {
    result = await work(counted());
  } catch (error) {
    // Only a stream that is over by itself can tell how it ended. One that we stopped reading has nothing to tell.
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- the generator below sets it
    if (over) await open.finish();
    throw error;
  }
  await open.finish();
  return result;

  async function* counted(): AsyncGenerator<Buffer> {
    let stopped = true;
    try {
      for await (const chunk of open.bytes as AsyncIterable<Buffer>) {
        onBytes?.(chunk.length);
        yield chunk;
      }
      stopped = false;
    } catch (error) {
      stopped = false;
      throw error;
    } finally {
      over = !stopped;
    }
  }
}
