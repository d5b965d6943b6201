import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { readGreeting } from '../../src/gate/client-hello.ts';
import { parseRule } from '../../src/gate/rule.ts';
import { loopbackNetwork, rawServer, startGate, type TestGate, type TestServer, Wire } from './world.ts';

/** The greeting that this Node's TLS sends for a server name; none if undefined. */
async function greeting(servername: string | undefined): Promise<Buffer> {
  const hello = Promise.withResolvers<Buffer>();
  const wire = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _, done) {
      hello.resolve(chunk);
      done();
    },
  });
  const socket = tlsConnect({ socket: wire, ...(servername === undefined ? {} : { servername }) });
  socket.on('error', () => undefined);
  const bytes = await hello.promise;
  socket.destroy();
  return bytes;
}

/** Cuts a greeting into records of so many bytes. */
function inRecords(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    records.push(Buffer.from([0x16, 0x03, 0x01, part.length >> 8, part.length & 0xff]), part);
  }
  return Buffer.concat(records);
}

/** Ports 443 and 5000 both lead to the test's server. */
async function tunnelTo(
  server: TestServer,
  authority: string,
  rules = ['web.test:443', 'web.test:5000', '203.0.113.9:443'],
) {
  const gate = await startGate({
    rules: rules.map((rule) =>
      parseRule(rule, { action: 'allow', origin: { kind: 'file', path: 'b.md', line: 1 } }, ['loopback']),
    ),
    network: {
      ...loopbackNetwork,
      connect: (_address, _port, inlet) => loopbackNetwork.connect('127.0.0.1', server.port, inlet),
    },
    limits: { greetingMs: 300 },
  });
  const wire = new Wire(gate.socketPath);
  wire.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  await wire.until((text) => text.includes('\r\n\r\n'));
  wire.received = wire.received.subarray(wire.received.indexOf('\r\n\r\n') + 4);
  return { gate, wire };
}

/** The line at the end of the tunnel, which is written a moment after the client sees it end. */
async function closeLine(gate: TestGate) {
  for (;;) {
    const line = (await gate.log()).find(({ event }) => event === 'close');
    if (line !== undefined) return line;
    await sleep(5);
  }
}

async function collecting() {
  let received = Buffer.alloc(0);
  const server = await rawServer((socket) => {
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      socket.write('heard');
    });
    socket.on('end', () => socket.end());
  });
  return { server, received: () => received };
}

const alert = Buffer.from([0x15, 3, 3, 0, 2, 2, 49]);

describe('what a tunnel may begin with', () => {
  const cases: [
    name: string,
    authority: string,
    first: () => Promise<Buffer> | Buffer,
    passes: boolean,
    reason?: string,
  ][] = [
    ['a greeting to the host', 'web.test:443', () => greeting('web.test'), true],
    ['a greeting in capitals', 'web.test:443', () => greeting('WEB.test'), true],
    ['a greeting to another host', 'web.test:443', () => greeting('evil.example'), false, 'tls-name'],
    ['a greeting to a subdomain', 'web.test:443', () => greeting('a.web.test'), false, 'tls-name'],
    ['a greeting to nobody', 'web.test:443', () => greeting(undefined), false, 'tls-name'],
    [
      'a greeting to another host on another port',
      'web.test:5000',
      () => greeting('evil.example'),
      false,
      'tls-name',
    ],
    ['a greeting to nobody, at an address', '203.0.113.9:443', () => greeting(undefined), true],
    ['a greeting to a name, at an address', '203.0.113.9:443', () => greeting('web.test'), false, 'tls-name'],
    [
      'a greeting in tiny records',
      'web.test:443',
      async () => inRecords(await greeting('web.test'), 7),
      true,
    ],
    [
      'a greeting to another host in tiny records',
      'web.test:443',
      async () => inRecords(await greeting('evil.example'), 7),
      false,
      'tls-name',
    ],
    [
      'plain HTTP on 443',
      'web.test:443',
      () => Buffer.from('GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n'),
      false,
      'not-tls',
    ],
    ['SSH on 443', 'web.test:443', () => Buffer.from('SSH-2.0-x\r\n'), false, 'not-tls'],
    [
      'half a greeting, then nothing',
      'web.test:443',
      async () => (await greeting('web.test')).subarray(0, 50),
      false,
      'not-tls',
    ],
    ['something else on another port', 'web.test:5000', () => Buffer.from('SSH-2.0-x\r\n'), true],
  ];
  for (const [name, authority, first, passes, reason] of cases) {
    test(`${name}: ${passes ? 'goes through' : 'is cut'}`, async () => {
      const { server, received } = await collecting();
      await using _ = server;
      const { gate, wire } = await tunnelTo(server, authority);
      await using __ = gate;
      using ___ = wire;
      const bytes = await first();
      wire.send(bytes);
      if (passes) {
        await wire.until((text) => text.endsWith('heard'));
        assert.deepEqual(received(), bytes);
        return;
      }
      await wire.closed();
      assert.equal(received().length, 0, 'the host got nothing');
      assert.deepEqual(wire.received, reason === 'tls-name' ? alert : Buffer.alloc(0));
      const close = await closeLine(gate);
      assert.deepEqual([close.decision, close.reason], ['deny', reason]);
    });
  }

  test('a host that speaks first is heard', async () => {
    await using server = await rawServer((socket) => void socket.write('220 ready\r\n'));
    const { gate, wire } = await tunnelTo(server, 'web.test:5000');
    await using _ = gate;
    using __ = wire;
    await wire.until((text) => text === '220 ready\r\n');
  });

  test('bytes sent with the CONNECT are part of the tunnel', async () => {
    const { server, received } = await collecting();
    await using _ = server;
    await using gate = await startGate({
      rules: [
        parseRule(
          `web.test:${server.port}`,
          { action: 'allow', origin: { kind: 'file', path: 'b.md', line: 1 } },
          ['loopback'],
        ),
      ],
    });
    using wire = new Wire(gate.socketPath);
    wire.send(`CONNECT web.test:${server.port} HTTP/1.1\r\n\r\nearly`);
    await wire.until((text) => text.endsWith('heard'));
    assert.equal(received().toString(), 'early');
  });

  test('each half closes on its own', async () => {
    await using server = await rawServer((socket) => {
      let text = '';
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('end', () => socket.end(`got ${text}`));
    });
    const { gate, wire } = await tunnelTo(server, 'web.test:5000');
    await using _ = gate;
    wire.socket.end('all of it');
    await wire.closed();
    assert.equal(wire.text, 'got all of it');
    const close = await closeLine(gate);
    assert.deepEqual([close.in, close.out], [13, 9]);
  });
});

describe('reading a greeting', () => {
  test('cut anywhere it asks for more, and whole it has the name', async () => {
    const hello = await greeting('some.host.example');
    for (let length = 0; length < hello.length; length += 1) {
      assert.equal(readGreeting(hello.subarray(0, length)).kind, 'more', `${length} bytes`);
    }
    assert.deepEqual(readGreeting(hello), { kind: 'tls', names: ['some.host.example'] });
  });

  test('damaged anywhere it never throws, and never invents a name', async () => {
    const hello = await greeting('some.host.example');
    fc.assert(
      fc.property(fc.nat(hello.length - 1), fc.nat(255), (at, byte) => {
        const damaged = Buffer.from(hello);
        damaged[at] = byte;
        const result = readGreeting(damaged);
        if (result.kind !== 'tls') return;
        for (const name of result.names) assert.ok(damaged.includes(Buffer.from(name, 'latin1')));
      }),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        (bytes) => void readGreeting(Buffer.from([0x16, 3, 1, ...bytes])),
      ),
    );
  });
});
