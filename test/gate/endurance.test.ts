import assert from 'node:assert/strict';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { GateSocketUnusable } from '../../src/gate/errors.ts';
import { Gate } from '../../src/gate/gate.ts';
import {
  allow,
  get,
  httpServer,
  loopbackNetwork,
  raw,
  rawServer,
  reasons,
  startGate,
  statuses,
  Wire,
} from './world.ts';

describe('endurance', () => {
  test('a head that comes too slowly is refused, an idle connection is closed', async () => {
    await using gate = await startGate({ rules: [], limits: { headMs: 150, idleMs: 300 } });
    using slow = new Wire(gate.socketPath);
    slow.send('GET http://evil.ex');
    const drip = setInterval(() => slow.socket.write('a'), 20);
    await slow.until((text) => text.includes('blocked') || text.includes('\r\n\r\n'));
    clearInterval(drip);
    assert.deepEqual([statuses(slow.text), reasons(slow.text)], [[408], ['too-slow']]);
    using idle = new Wire(gate.socketPath);
    await idle.closed();
    assert.equal(idle.text, '');
  });

  test('a body that stops coming is refused, and the host does not take it for whole', async () => {
    const ended = Promise.withResolvers<string>();
    await using server = await rawServer((socket) => {
      let text = '';
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('end', () => ended.resolve(text));
    });
    const where = `web.test:${server.port}`;
    await using gate = await startGate({ rules: [allow(where)], limits: { bodyMs: 100 } });
    const answer = await raw(
      gate.socketPath,
      `POST http://${where}/ HTTP/1.1\r\nHost: ${where}\r\nContent-Length: 10\r\n\r\nabc`,
    );
    assert.deepEqual(reasons(answer), ['too-slow']);
    assert.match(await ended.promise, /abc$/);
  });

  test('a host that does not answer is a 504', async () => {
    await using server = await rawServer(() => undefined);
    const where = `web.test:${server.port}`;
    await using gate = await startGate({ rules: [allow(where)], limits: { responseMs: 100 } });
    assert.deepEqual([504], statuses(await raw(gate.socketPath, get(where))));
    await using unresolved = await startGate({
      rules: [allow(where)],
      limits: { dialMs: 100 },
      network: { ...loopbackNetwork, resolve: () => new Promise(() => undefined) },
    });
    assert.deepEqual([504], statuses(await raw(unresolved.socketPath, get(where))));
  });

  test('a client that goes away takes its request to the host with it', async () => {
    const arrived = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<void>();
    await using server = await httpServer((request, response) => {
      response.on('close', () => gone.resolve());
      request.resume();
      arrived.resolve();
    });
    const where = `web.test:${server.port}`;
    await using gate = await startGate({ rules: [allow(where)], limits: { halfClosedMs: 50 } });
    const wire = new Wire(gate.socketPath);
    wire.send(get(where));
    await arrived.promise;
    wire.socket.destroy();
    await gone.promise;
  });

  test('a client that closes its half still gets its answer', async () => {
    await using server = await httpServer((_, response) => setTimeout(() => response.end('late'), 50));
    const where = `web.test:${server.port}`;
    await using gate = await startGate({ rules: [allow(where)] });
    assert.match(await raw(gate.socketPath, get(where, '/', ''), { end: true }), /late/);
  });

  test('beyond the limit a connection is told so, unless an idle one can make room', async () => {
    await using server = await rawServer((socket) => void socket.on('data', (chunk) => socket.write(chunk)));
    const where = `web.test:${server.port}`;
    await using gate = await startGate({ rules: [allow(where)], limits: { connections: 4 } });
    const tunnels = Array.from({ length: 3 }, () => new Wire(gate.socketPath));
    for (const tunnel of tunnels) {
      tunnel.send(`CONNECT ${where} HTTP/1.1\r\n\r\n`);
      await tunnel.until((text) => text.includes('200'));
    }
    using idle = new Wire(gate.socketPath);
    await once(idle.socket, 'connect');
    assert.deepEqual(reasons(await raw(gate.socketPath, get(where))), ['busy']);
    // From a second on it counts as idle.
    await sleep(1050);
    assert.deepEqual(statuses(await raw(gate.socketPath, get('evil.example'))), [403]);
    assert.equal(idle.hasEnded || idle.isClosed, true);
    for (const tunnel of tunnels) {
      tunnel.send('still here');
      await tunnel.until((text) => text.endsWith('still here'));
      tunnel.socket.destroy();
    }
  });

  test('what is open when the gate closes is cut, and the socket is gone', async () => {
    await using server = await rawServer((socket) => void socket.on('data', (chunk) => socket.write(chunk)));
    const where = `web.test:${server.port}`;
    await using gate = await startGate({ rules: [allow(where)] });
    using tunnel = new Wire(gate.socketPath);
    tunnel.send(`CONNECT ${where} HTTP/1.1\r\n\r\n`);
    await tunnel.until((text) => text.includes('200'));
    await gate.gate[Symbol.asyncDispose]();
    await tunnel.closed();
    await assert.rejects(stat(gate.socketPath));
    assert.deepEqual(
      (await gate.log()).map(({ event }) => event),
      ['open', 'close'],
    );
  });
});

test('a socket path that is too long, or taken, is a failure with its code', async () => {
  await using gate = await startGate({ rules: [] });
  const options = { slug: 'x', rules: [], audit: { path: `${gate.socketPath}.jsonl` } };
  await assert.rejects(Gate.start({ ...options, socketPath: `/${'x'.repeat(110)}` }), GateSocketUnusable);
  await assert.rejects(
    Gate.start({ ...options, socketPath: gate.socketPath }),
    (error) => error instanceof GateSocketUnusable && error.fields.code === 'EADDRINUSE',
  );
  assert.deepEqual(
    statuses(await raw(gate.socketPath, get('evil.example'))),
    [403],
    'the first one still answers',
  );
});

test('whatever bytes come, the gate says no or closes, asks no host that is not allowed, and serves the next one', async () => {
  await using server = await httpServer((request, response) => {
    request.on('error', () => undefined).resume();
    response.end('ok');
  });
  const where = `web.test:${server.port}`;
  const resolved = new Set<string>();
  await using gate = await startGate({
    rules: [allow(where)],
    limits: {
      headMs: 100,
      bodyMs: 100,
      idleMs: 100,
      responseMs: 500,
      lingerMs: 20,
      greetingMs: 50,
      halfClosedMs: 50,
    },
    network: {
      ...loopbackNetwork,
      resolve(name) {
        resolved.add(name);
        return Promise.resolve(['127.0.0.1']);
      },
    },
  });
  const seeds = [
    get(where, '/a?b'),
    `POST http://${where}/ HTTP/1.1\r\nHost: ${where}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n`,
    `POST http://${where}/ HTTP/1.1\r\nHost: ${where}\r\nContent-Length: 3\r\n\r\nabc${get(where)}`,
    `CONNECT ${where} HTTP/1.1\r\nHost: ${where}\r\n\r\nGET / HTTP/1.1\r\nHost: ${where}\r\n\r\n`,
    get('evil.example'),
  ];
  const splice = fc.record({
    at: fc.nat(200),
    drop: fc.nat(6),
    put: fc.oneof(
      fc.constantFrom(
        '\r\n',
        '\n',
        '\r',
        ' ',
        '\t',
        ':',
        '\0',
        ',',
        '0',
        '%00',
        '@evil.example',
        'Host: evil.example\r\n',
        'Content-Length: 9\r\n',
      ),
      fc.string({ unit: 'binary-ascii', maxLength: 4 }),
    ),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...seeds),
      fc.array(splice, { minLength: 1, maxLength: 3 }),
      async (seed, splices) => {
        let text = seed;
        for (const { at, drop, put } of splices) text = text.slice(0, at) + put + text.slice(at + drop);
        await raw(gate.socketPath, Buffer.from(text, 'latin1'), { end: true });
      },
    ),
    { numRuns: 400 },
  );
  assert.deepEqual([...resolved], ['web.test']);
  assert.deepEqual(statuses(await raw(gate.socketPath, get(where))), [200]);
});
