import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { createServer as createHttpServer } from 'node:http';
import type { Outside } from './network-attempts.ts';

export interface HostSide extends Outside, AsyncDisposable {
  /** Connections that were ever made to what listens. */
  readonly connections: () => number;
}

/** What an agent would like to reach: a server on every address of the host and an abstract socket. */
export async function hostSide(): Promise<HostSide> {
  let connections = 0;
  const server = createHttpServer((request, answer) => {
    answer.end(`host=${request.headers.host ?? ''} path=${request.url ?? ''}\n`);
  });
  const abstractName = `escape-${randomBytes(6).toString('hex')}`;
  const abstract = createServer((socket) => socket.on('error', () => undefined).end('host\n'));
  for (const one of [server, abstract] as Server[]) one.on('connection', () => (connections += 1));
  await new Promise<void>((resolve) => server.listen(0, '::', resolve));
  await new Promise<void>((resolve) => abstract.listen(`\0${abstractName}`, resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const addresses = Object.values(networkInterfaces())
    .flatMap((one) => one ?? [])
    .filter(({ internal, scopeid }) => !internal && (scopeid ?? 0) === 0)
    .map((one) => one.address);
  return {
    port,
    abstractName,
    addresses: addresses.filter((one) => !one.includes(':')).slice(0, 3),
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await Promise.all([server, abstract].map((one) => new Promise((resolve) => one.close(resolve))));
    },
  };
}
