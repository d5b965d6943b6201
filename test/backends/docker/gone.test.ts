import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { dockerBackend } from '../../../src/backends/docker/backend.ts';
import { apiRequest } from '../../../src/engine/api.ts';
import { Engine } from '../../../src/engine/engine.ts';
import { dockerInfo } from '../../engine/fake-engine.ts';

/** An engine that answers until it is told to go: everything after that finds nobody. */
async function vanishing() {
  const directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
  const socket = join(directory, 'engine.sock');
  const server: Server = createServer((connection) => {
    connection.on('error', () => undefined);
    connection.once('data', () => {
      connection.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const command = join(directory, 'docker');
  const endpoint = JSON.stringify({ Endpoints: { docker: { Host: `unix://${socket}` } } });
  const script = `#!/bin/sh
case "$1" in
info) echo '${dockerInfo}' ;;
context) echo '${endpoint}' ;;
*) echo 'Cannot connect to the Docker daemon' >&2; exit 1 ;;
esac
`;
  await writeFile(command, script);
  await chmod(command, 0o755);
  return {
    socket,
    connect: (direct: boolean) => Engine.connect({ command, direct }),
    async vanish() {
      await new Promise((resolve) => server.close(resolve));
      await rm(socket, { force: true });
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

describe('an engine that is gone', () => {
  let stage: Awaited<ReturnType<typeof vanishing>>;
  let engines: Engine[];
  before(async () => {
    stage = await vanishing();
    engines = [await stage.connect(true), await stage.connect(false)];
    assert.equal(engines[0]?.socket, stage.socket);
    await stage.vanish();
  });
  after(() => stage[Symbol.asyncDispose]());

  const calls = {
    start: (bottle) => bottle.start(),
    exec: (bottle) => bottle.exec(['true']),
    account: (bottle) => bottle.account(),
    foreground: (bottle) => bottle.foreground(['true'], { terminal: false }),
    copyIn: (bottle) => bottle.copyIn(Readable.from([Buffer.alloc(1024)]), '/srv'),
    copyOut: async (bottle) => (await bottle.copyOut('/srv')).done,
    logs: (bottle) => bottle.logs({ follow: true }).done,
    lastOutput: (bottle) => bottle.lastOutput(),
    status: (bottle) => bottle.status(),
    diskUse: (bottle) => bottle.diskUse(),
    stop: (bottle) => bottle.stop(1000),
    remove: (bottle) => bottle.remove(),
  } satisfies Record<
    string,
    (bottle: ReturnType<ReturnType<typeof dockerBackend>['bottle']>) => Promise<unknown>
  >;

  for (const [name, call] of Object.entries(calls)) {
    test(`is what ${name} says, at once`, async () => {
      for (const engine of engines) {
        const backend = dockerBackend(engine, { version: '1' });
        await assert.rejects(call(backend.bottle('any')), { name: 'EngineUnreachable' });
      }
    });
  }

  test('is what looking for bottles says', async () => {
    for (const engine of engines) {
      await assert.rejects(dockerBackend(engine, { version: '1' }).find(), { name: 'EngineUnreachable' });
    }
  });

  test('is told by its silence too', async () => {
    const path = `${stage.socket}.silent`;
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(path, resolve));
    await assert.rejects(apiRequest(path, '/x', { timeoutMs: 100 }), /no answer in 100 ms/);
    silent.close();
  });
});
