import { createServer, type Server, type Socket } from 'node:net';
import { chmod } from 'node:fs/promises';
import { createInterface } from 'node:readline';

/** The host side of a bottle-init: says go as soon as it is ready, and lets it end. */
export interface Control extends AsyncDisposable {
  readonly events: readonly string[];
}

export async function listenForControl(path: string): Promise<Control> {
  const events: string[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    const lines = createInterface({ input: socket });
    // It passes on what the socket met (readline, since Node 16).
    lines.on('error', () => undefined);
    lines.on('line', (line) => {
      events.push(line);
      const { event } = JSON.parse(line) as { event?: string };
      if (event === 'ready') socket.write('go 0\n');
      if (event === 'exited') socket.end('end\n');
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await chmod(path, 0o666);
  return {
    events,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
