import { chmod, mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bottle } from '../backends/backend.ts';
import { InitSilent } from './errors.ts';
import { InitChannel } from './init-channel.ts';
import type { BottlePlaces } from './places.ts';

const readyMs = 60_000;
const endMs = 5_000;

/**
 * Starts a bottle that has ended up to where bottle-init holds, so that its work can be taken out, and ends it again.
 * Its command does not run, and there is no gate: whatever runs in it meanwhile has no way out at all.
 */
export async function revived<T>(bottle: Bottle, places: BottlePlaces, work: () => Promise<T>): Promise<T> {
  await bottle.stop(0);
  await mkdir(places.mounted, { recursive: true, mode: 0o700 });
  await chmod(places.mounted, 0o755);
  await bottle.restore(places.mounted);
  await using init = await InitChannel.listen(places.controlSocket);
  await bottle.start();
  const limit = new AbortController();
  try {
    await Promise.race([
      init.ready,
      sleep(readyMs, undefined, { signal: limit.signal }).then(() => Promise.reject(new InitSilent({}))),
    ]);
    return await work();
  } finally {
    limit.abort();
    init.end();
    await bottle.stop(endMs);
  }
}
