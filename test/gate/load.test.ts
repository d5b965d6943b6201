import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { allow, get, httpServer, raw, rawServer, reasons, startGate, statuses, Wire } from './world.ts';

/** A gate in a process of its own, that may have so many descriptors. */
async function gateProcess(rule: string, descriptors = 4096) {
  const directory = await mkdtemp(join(tmpdir(), 'gate-load-'));
  const socketPath = join(directory, 'gate.sock');
  const program = new URL('gate-process.ts', import.meta.url).pathname;
  const flags = ['--max-semi-space-size=1', program, socketPath, join(directory, 'gate.jsonl'), rule];
  const child = spawn('prlimit', [`--nofile=${descriptors}`, process.execPath, ...flags], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async () => (await lines.next()).value as string;
  assert.equal(await next(), 'ready');
  return {
    socketPath,
    descriptors: async () => (await readdir(`/proc/${child.pid}/fd`)).length,
    async state() {
      child.stdin.write('\n');
      return JSON.parse(await next()) as {
        connections: number;
        denied: number;
        allowed: number;
        rss: number;
      };
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      if (child.exitCode === null) await once(child, 'exit');
      await rm(directory, { recursive: true, force: true });
    },
  };
}

describe('many connections', () => {
  test('100,000 through one gate leave no descriptor, no connection and no memory behind', async () => {
    await using server = await httpServer((_, response) => response.end('ok'));
    const where = `web.test:${server.port}`;
    await using gate = await gateProcess(where);
    const kinds = [
      () => raw(gate.socketPath, get('evil.example')),
      () => raw(gate.socketPath, 'CONNECT evil.example:443 HTTP/1.1\r\n\r\n'),
      () => raw(gate.socketPath, get(where)),
      () => raw(gate.socketPath, 'GET http://half', { end: true }),
      async () => {
        const socket = connect(gate.socketPath);
        await once(socket, 'connect');
        socket.destroy();
      },
    ];
    const crowd = async (connections: number) => {
      for (let done = 0; done < connections; done += 200) {
        await Promise.all(Array.from({ length: 200 }, (_, n) => kinds[n % kinds.length]!()));
      }
      while ((await gate.state()).connections > 0) await sleep(20);
      await sleep(100);
      return { ...(await gate.state()), descriptors: await gate.descriptors() };
    };
    const early = await crowd(20_000);
    const late = await crowd(80_000);
    assert.ok(late.descriptors <= early.descriptors + 2, `${early.descriptors}, then ${late.descriptors}`);
    // What four times as many leave must be less than what they would at 500 bytes each.
    const grown = late.rss - early.rss;
    assert.ok(grown < 40e6, `${Math.round(grown / 1e6)} MB more`);
    assert.deepEqual([late.allowed, late.denied >= 40_000], [20_000, true]);
  });

  test('without descriptors it waits, and serves again when some are free', async () => {
    await using server = await rawServer((socket) => void socket.on('data', (chunk) => socket.write(chunk)));
    const where = `web.test:${server.port}`;
    await using gate = await gateProcess(where, 60);
    const sockets = Array.from({ length: 100 }, () => connect(gate.socketPath));
    for (const socket of sockets) {
      socket.on('error', () => undefined);
      socket.write(`CONNECT ${where} HTTP/1.1\r\n\r\n`);
    }
    // So many that no descriptor is left; how many got through does not matter.
    await once(sockets[0]!, 'data');
    while ((await gate.descriptors()) < 58) await sleep(10);
    for (const socket of sockets) socket.destroy();
    // Those that still wait in the queue come first.
    for (;;) {
      using wire = new Wire(gate.socketPath);
      wire.send(`CONNECT ${where} HTTP/1.1\r\n\r\n`);
      const text = await wire.until((text) => text.includes('\r\n\r\n'));
      if (statuses(text)[0] === 200) {
        wire.send('still here');
        await wire.until((text) => text.endsWith('still here'));
        break;
      }
      assert.deepEqual(reasons(text), ['busy']);
      await sleep(20);
    }
  });
});

describe('bytes that many connections share buffers for', () => {
  for (const kind of ['tunnel', 'length', 'close'] as const) {
    test(`${kind}: every reader, slow or fast, gets its own, also after others left in the middle`, async () => {
      const bodies = Array.from({ length: 24 }, (_, n) =>
        Buffer.concat([Buffer.from([n]), randomBytes(1_500_000 + n * 4099)]),
      );
      await using server = await rawServer((socket) => {
        socket.once('data', (head) => {
          const body = bodies[Number(/\/(\d+)/.exec(head.toString())?.[1])]!;
          const length = kind === 'length' ? `Content-Length: ${body.length}\r\n` : '';
          socket.write(`HTTP/1.0 200 OK\r\n${length}\r\n`);
          socket.end(body);
        });
      });
      const where = `web.test:${server.port}`;
      await using gate = await startGate({ rules: [allow(where)] });
      const ask = (n: number) =>
        kind === 'tunnel'
          ? `CONNECT ${where} HTTP/1.1\r\n\r\nGET /${n} HTTP/1.0\r\n\r\n`
          : `GET http://${where}/${n} HTTP/1.0\r\nHost: ${where}\r\n\r\n`;
      const read = (n: number) =>
        new Promise<void>((resolve, reject) => {
          const socket = connect(gate.socketPath);
          const chunks: Buffer[] = [];
          let seen = 0;
          socket.write(ask(n));
          socket.on('error', reject);
          socket.on('data', (chunk: Buffer) => {
            chunks.push(chunk);
            seen += chunk.length;
            if (n % 5 === 4 && seen > 300_000) return void socket.destroy();
            if (n % 3 !== 0) return;
            socket.pause();
            setTimeout(() => socket.resume(), 1 + (n % 4));
          });
          socket.on('close', () => {
            const all = Buffer.concat(chunks);
            const body = all.subarray(all.lastIndexOf('\r\n\r\n', 400) + 4);
            const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
            try {
              assert.equal(digest(body), digest(bodies[n]!.subarray(0, body.length)), `reader ${n}`);
              if (n % 5 !== 4) assert.equal(body.length, bodies[n]!.length);
              resolve();
            } catch (error) {
              reject(error);
            }
          });
        });
      for (let round = 0; round < 3; round += 1) await Promise.all(bodies.map((_, n) => read(n)));
    });
  }

  test('uploads arrive as they were sent, by length and through a tunnel', async () => {
    const body = randomBytes(6_000_000);
    const digest = createHash('sha256').update(body).digest('hex');
    await using server = await httpServer((request, response) => {
      const hash = createHash('sha256');
      // Slower than it comes, so that pieces wait.
      request.on('data', (chunk: Buffer) => {
        hash.update(chunk);
        request.pause();
        setTimeout(() => request.resume(), 1);
      });
      request.on('end', () => response.end(hash.digest('hex')));
    });
    const where = `web.test:${server.port}`;
    await using gate = await startGate({ rules: [allow(where)] });
    const fields = `Host: ${where}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
    const heads = [
      `PUT http://${where}/ HTTP/1.1\r\n${fields}`,
      `CONNECT ${where} HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\n${fields}`,
    ];
    const answers = await Promise.all(
      [...heads, ...heads].map((head) => raw(gate.socketPath, Buffer.concat([Buffer.from(head), body]))),
    );
    for (const answer of answers) assert.ok(answer.includes(digest));
  });
});

describe('what is quiet for long', () => {
  test('is closed before it has said what it wants, and left alone after: tunnels, streams of events, WebSockets', async () => {
    let send: (text: string) => void = () => undefined;
    await using events = await httpServer((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
      send = (text) => response.write(text);
    });
    await using echo = await rawServer((socket) => void socket.on('data', (chunk) => socket.write(chunk)));
    const [stream, tunnelled] = [`events.test:${events.port}`, `echo.test:${echo.port}`];
    await using gate = await startGate({
      rules: [allow(stream), allow(tunnelled)],
      limits: { idleMs: 100, headMs: 100, bodyMs: 100 },
    });
    using idle = new Wire(gate.socketPath);
    using listener = new Wire(gate.socketPath);
    using tunnel = new Wire(gate.socketPath);
    listener.send(get(stream));
    await listener.until((text) => text.includes('\r\n\r\n'));
    tunnel.send(`CONNECT ${tunnelled} HTTP/1.1\r\n\r\n`);
    await tunnel.until((text) => statuses(text).at(-1) === 200);
    await idle.closed();
    await sleep(300);
    send('data: late\n\n');
    await listener.until((text) => text.includes('data: late'));
    tunnel.send('late');
    await tunnel.until((text) => text.endsWith('late'));
  });
});
