import { once } from 'node:events';

/**
 * Writes at the pace of whoever reads, so that what is written piece by piece is never held in memory as a whole.
 * @throws the reason of `signal`, which has to fire when the reader goes away: nothing else would tell.
 */
export async function writeAtPace(
  stream: NodeJS.WritableStream,
  piece: string | Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  if (stream.write(piece)) return;
  await once(stream, 'drain', { signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw error;
  });
}
