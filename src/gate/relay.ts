import { type Channel, ConnectionLost, ReceiverGone } from './channel.ts';
import { type BodyDecoder, encodeChunk, encodeLastChunk } from './http/body.ts';
import { headEnd, maxHeadBytes } from './http/head.ts';
import { malformed } from './refusal.ts';

/**
 * Reads a head, its empty line included, and leaves what follows in the channel.
 * @param firstMs to wait for its first byte.
 * @param restMs from then on, for all of it.
 * @returns `undefined` if the other side ends before the first byte.
 * @throws Refusal, ConnectionLost, TooSlow
 */
export async function readHead(
  channel: Channel,
  firstMs: number,
  restMs: number,
): Promise<Buffer | undefined> {
  const first = await channel.pull(firstMs);
  if (first === undefined) return undefined;
  const deadline = performance.now() + restMs;
  let bytes = first;
  let used = first.length;
  for (let from = 0; ;) {
    const end = headEnd(bytes.subarray(0, used), from);
    if ((end ?? used) > maxHeadBytes) throw malformed('the head is longer than 64 KiB', 'too-large', 431);
    if (end !== undefined) {
      channel.putBack(bytes.subarray(end, used));
      return bytes.subarray(0, end);
    }
    const more = await channel.pull(Math.max(1, deadline - performance.now()));
    if (more === undefined) throw new ConnectionLost();
    from = used;
    if (used + more.length > bytes.length || bytes === first) bytes = grow(bytes, used, more.length);
    more.copy(bytes, used);
    used += more.length;
  }
}

/** Doubles, so that a head that comes byte by byte is not copied byte by byte. */
function grow(bytes: Buffer, used: number, more: number): Buffer {
  const larger = Buffer.allocUnsafe(Math.max(1024, (used + more) * 2));
  bytes.copy(larger, 0, 0, used);
  return larger;
}

export interface BodyRelay {
  readonly from: Channel;
  readonly decoder: BodyDecoder;
  readonly to: Channel;
  /** As chunks, or as plain bytes. */
  readonly chunked: boolean;
  /** How long the next bytes may take, asked before each read. 0 is for ever. */
  readonly timeoutMs: () => number;
  readonly onBytes: (n: number) => void;
}

/** The body ended before it was whole. */
export class Truncated extends Error {}

/**
 * Passes a body on as it comes, at the pace of the slower side, byte for byte; only the chunks are cut anew.
 * @throws Refusal, ConnectionLost, TooSlow, Truncated, ReceiverGone
 */
export async function relayBody({
  from,
  decoder,
  to,
  chunked,
  timeoutMs,
  onBytes,
}: BodyRelay): Promise<void> {
  const { plain } = decoder;
  if (plain !== undefined && !chunked) {
    if (plain === 0) return;
    const { ended } = await from.pour(to, { most: plain, timeoutMs, onBytes });
    if (ended && plain !== Infinity) throw new Truncated();
    return;
  }
  while (!decoder.done) {
    const bytes = await from.pull(timeoutMs());
    if (bytes === undefined) {
      if (!decoder.end()) throw new Truncated();
      break;
    }
    const { data, rest } = decoder.decode(bytes);
    from.putBack(rest);
    const length = data.reduce((sum, piece) => sum + piece.length, 0);
    if (length === 0) continue;
    onBytes(length);
    await push(to, chunked ? encodeChunk(data, length) : data);
  }
  if (chunked) await push(to, [encodeLastChunk(decoder.trailers)]);
}

async function push(to: Channel, pieces: readonly Buffer[]): Promise<void> {
  try {
    await to.push(pieces);
  } catch (error) {
    throw new ReceiverGone(undefined, { cause: error });
  }
}

/**
 * Ends our half, lets what was sent leave, throws away for a while what still comes in, then closes. To close at once
 * would have the system discard an answer that the other side has not read yet.
 */
export async function linger(channel: Channel, lingerMs: number): Promise<void> {
  channel.end();
  await channel.flushed();
  const deadline = performance.now() + lingerMs;
  try {
    while (performance.now() < deadline) {
      if ((await channel.pull(Math.max(1, deadline - performance.now()))) === undefined) break;
    }
  } catch {
    // Gone or silent: closing is all that is left either way.
  }
  channel.destroy();
}
