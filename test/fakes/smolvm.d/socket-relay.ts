import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import type { MountedSocket } from './store.ts';

/**
 * Listens for every mounted socket of the host and relays, connection by connection: the host's socket is connected to when
 * the guest connects, so whoever listens there may come later and again. One side's end is passed on as such.
 * @returns the sockets to bind over the guest's paths.
 */
export async function relaySockets(
  sockets: readonly MountedSocket[],
  directory: string,
): Promise<{ source: string; target: string }[]> {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { mode: 0o700 });
  const binds: { source: string; target: string }[] = [];
  for (const [at, { host, guest }] of sockets.entries()) {
    const server = createServer({ allowHalfOpen: true }, (fromGuest) => {
      const toHost = connect({ path: host, allowHalfOpen: true });
      fromGuest.on('error', () => toHost.destroy());
      toHost.on('error', () => fromGuest.destroy());
      fromGuest.on('close', () => {
        if (!fromGuest.readableEnded) toHost.destroy();
      });
      toHost.on('close', () => {
        if (!toHost.readableEnded) fromGuest.destroy();
      });
      fromGuest.pipe(toHost);
      toHost.pipe(fromGuest);
    });
    const source = join(directory, String(at));
    server.listen(source);
    await once(server, 'listening');
    chmodSync(source, 0o777);
    binds.push({ source, target: guest });
  }
  return binds;
}
