import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { allow, httpServer, raw, rawServer, reasons, startGate, statuses, Wire } from './world.ts';

function get(where: string, path: string, extra = ''): string {
  return `GET http://${where}${path} HTTP/1.1\r\nHost: ${where}\r\n${extra}\r\n`;
}

describe('what goes on to the host', () => {
  test('is the request in origin form, without the fields of this hop', async () => {
    const seen = Promise.withResolvers<{ url: string | undefined; headers: string[] }>();
    await using server = await httpServer((request, response) => {
      seen.resolve({ url: request.url, headers: request.rawHeaders });
      response.end();
    });
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    const where = `web.test:${server.port}`;
    await raw(
      gate.socketPath,
      `GET http://WEB.test:${server.port}/a/%7Eb?q=1&r HTTP/1.1\r\nhOsT: ${where}\r\nX-Keep: \t yes \r\nConnection: close, X-Hop\r\nX-Hop: no\r\n` +
        'Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nTE: trailers\r\nUpgrade: h2c\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n',
    );
    assert.deepEqual(await seen.promise, {
      url: '/a/%7Eb?q=1&r',
      headers: ['Host', where, 'X-Keep', 'yes', 'Cookie', 'a=1', 'Cookie', 'b=2'],
    });
  });

  test('bytes above ASCII in values come through as they are, both ways', async () => {
    await using server = await rawServer((socket) =>
      socket.once('data', (head) => {
        const value = /X-A: (.*)\r\n/.exec(head.toString('latin1'))![1]!;
        socket.end(Buffer.from(`HTTP/1.1 200 OK\r\nX-B: ${value}\r\nContent-Length: 0\r\n\r\n`, 'latin1'));
      }),
    );
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    const answer = await raw(
      gate.socketPath,
      Buffer.from(
        get(`web.test:${server.port}`, '/', 'X-A: \xe9\xff\x80\r\nConnection: close\r\n'),
        'latin1',
      ),
    );
    assert.match(answer, /X-B: \xe9\xff\x80\r\n/);
  });
});

describe('one connection, many requests', () => {
  test('pipelined ones are answered in order, over one connection to the host', async () => {
    await using server = await httpServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => (body += chunk));
      request.on('end', () =>
        setTimeout(() => response.end(`${request.url}=${body};`), request.url === '/1' ? 30 : 0),
      );
    });
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    const where = `web.test:${server.port}`;
    const post = (path: string, framing: string) =>
      `POST http://${where}${path} HTTP/1.1\r\nHost: ${where}\r\n${framing}`;
    const answer = await raw(
      gate.socketPath,
      get(where, '/1') +
        post('/2', 'Content-Length: 3\r\n\r\nabc') +
        post('/3', 'Transfer-Encoding: chunked\r\n\r\n3;x="y"\r\nabc\r\n2\r\nde\r\n0\r\n\r\n') +
        get('evil.test', '/') +
        get(where, '/4', 'Connection: close\r\n') +
        get(where, '/5'),
    );
    assert.deepEqual(statuses(answer), [200, 200, 200, 403, 200]);
    assert.deepEqual([...answer.matchAll(/\/\d=\w*;/g)].map(String), [
      '/1=;',
      '/2=abc;',
      '/3=abcde;',
      '/4=;',
    ]);
    assert.equal(server.connections(), 1);
  });

  test('a connection that the host closed meanwhile is not noticed by the client', async () => {
    await using server = await rawServer((socket) =>
      socket.on('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        // Takes the next request, and hangs up instead of an answer.
        socket.removeAllListeners('data').on('data', () => socket.destroy());
      }),
    );
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    using wire = new Wire(gate.socketPath);
    for (const count of [1, 2, 3]) {
      wire.send(get(`web.test:${server.port}`, '/'));
      await wire.until((text) => statuses(text).length === count && text.endsWith('ok'));
    }
    assert.deepEqual(statuses(wire.text), [200, 200, 200]);
  });

  test('an HTTP/1.0 client gets a plain body and a close', async () => {
    await using server = await httpServer((_, response) => {
      response.write('abc');
      response.end('def');
    });
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    const answer = await raw(gate.socketPath, `GET http://web.test:${server.port}/ HTTP/1.0\r\n\r\n`);
    assert.match(answer, /\r\n\r\nabcdef$/);
    assert.doesNotMatch(answer, /chunked/i);
  });
});

describe('framing of answers', () => {
  const answers: [name: string, method: string, answer: string, expected: RegExp][] = [
    [
      'HEAD has the length of GET and no body',
      'HEAD',
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
      /Content-Length: 5\r\n\r\nHTTP/,
    ],
    [
      '204 has no body and no length',
      'GET',
      'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n',
      /^HTTP\/1.1 204 No Content\r\n\r\nHTTP/,
    ],
    [
      '304 has no body',
      'GET',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
      /304 Not Modified\r\nContent-Length: 5\r\n\r\nHTTP/,
    ],
    [
      'a body until the close becomes chunks',
      'GET',
      'HTTP/1.1 200 OK\r\n\r\nhello',
      /Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/,
    ],
    [
      'padded chunk sizes are understood',
      'GET',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n0\r\n\r\n',
      /5\r\nhello\r\n0\r\n\r\nHTTP/,
    ],
    [
      'trailers come along',
      'GET',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n1\r\na\r\n0\r\nX-T: v\r\nContent-Length: 9\r\n\r\n',
      /1\r\na\r\n0\r\nX-T: v\r\n\r\nHTTP/,
    ],
    [
      'interim answers come first',
      'GET',
      'HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
      /^HTTP\/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP\/1.1 200 OK/,
    ],
    ['an empty reason phrase', 'GET', 'HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n', /^HTTP\/1.1 299 \r\n/],
  ];
  for (const [name, method, answer, expected] of answers) {
    test(name, async () => {
      await using server = await rawServer((socket) => socket.once('data', () => socket.end(answer)));
      await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
      const where = `web.test:${server.port}`;
      using wire = new Wire(gate.socketPath);
      wire.send(get(where, '/').replace('GET', method));
      wire.send(get('gate.claude-bottle.internal', '/', 'Connection: close\r\n'));
      await wire.until((text) => text.includes('claude-bottle gate'));
      assert.match(wire.text, expected);
    });
  }

  test('an answer that breaks off breaks off for the client too', async () => {
    for (const answer of ['Content-Length: 9\r\n\r\nabc', 'Transfer-Encoding: chunked\r\n\r\n9\r\nabc']) {
      await using server = await rawServer((socket) =>
        socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n${answer}`)),
      );
      await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
      const got = await raw(gate.socketPath, get(`web.test:${server.port}`, '/'));
      assert.match(got, /abc/);
      assert.doesNotMatch(got, /0\r\n\r\n$/);
      const [line] = await gate.log();
      assert.deepEqual([line!.decision, line!.reason], ['fail', 'upstream-lost']);
    }
  });
});

describe('streaming', () => {
  test('a request body waits for 100 Continue, and goes then', async () => {
    await using server = await httpServer(() => undefined);
    await using continued = await rawServer((socket) => {
      let text = '';
      socket.on('data', (chunk) => {
        text += chunk.toString();
        if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
        if (text.endsWith('hello'))
          socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      });
    });
    await using gate = await startGate({ rules: [allow(`web.test:${continued.port}`)] });
    const where = `web.test:${continued.port}`;
    using wire = new Wire(gate.socketPath);
    wire.send(
      `POST http://${where}/ HTTP/1.1\r\nHost: ${where}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n`,
    );
    await wire.until((text) => text === 'HTTP/1.1 100 Continue\r\n\r\n');
    wire.send('hello');
    await wire.until((text) => statuses(text).at(-1) === 200);
    assert.equal(server.connections(), 0);
  });

  test('each event of a stream arrives before the next one is sent', async () => {
    let send: (text: string) => void = () => undefined;
    await using server = await httpServer((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
      send = (text) => response.write(text);
    });
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    using wire = new Wire(gate.socketPath);
    wire.send(get(`web.test:${server.port}`, '/events'));
    await wire.until((text) => text.includes('\r\n\r\n'));
    for (let n = 0; n < 20; n += 1) {
      send(`data: ${n}\n\n`);
      await wire.until((text) => text.includes(`data: ${n}\n\n`));
    }
  });

  test('an answer may come while the request body still does', async () => {
    await using server = await httpServer((request, response) => void request.pipe(response));
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    const where = `web.test:${server.port}`;
    using wire = new Wire(gate.socketPath);
    wire.send(`POST http://${where}/ HTTP/1.1\r\nHost: ${where}\r\nTransfer-Encoding: chunked\r\n\r\n`);
    for (const word of ['one', 'two', 'six']) {
      wire.send(`3\r\n${word}\r\n`);
      await wire.until((text) => text.includes(word));
    }
    wire.send('0\r\n\r\n');
    await wire.until((text) => text.endsWith('0\r\n\r\n'));
  });

  test('an early refusal of a large upload reaches the client', async () => {
    await using server = await rawServer((socket) =>
      socket.once('data', () => {
        socket.pause();
        socket.end('HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig');
        setTimeout(() => socket.resume(), 20);
      }),
    );
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    const where = `web.test:${server.port}`;
    using wire = new Wire(gate.socketPath);
    wire.send(
      `POST http://${where}/ HTTP/1.1\r\nHost: ${where}\r\nContent-Length: 100000000\r\n\r\n${'x'.repeat(1000)}`,
    );
    assert.match(await wire.until((text) => text.endsWith('big')), /413 Too Large[^]*Connection: close/);
    await wire.closed();
  });

  for (const direction of ['up', 'down'] as const) {
    test(`${direction}: a receiver that stops stops the sender, and nothing is lost`, async () => {
      const block = randomBytes(1 << 18);
      const blocks = 256;
      const whole = createHash('sha256');
      for (let n = 0; n < blocks; n += 1) whole.update(block);
      let sent = 0;
      const sendAll = async (to: Writable) => {
        for (; sent < blocks; sent += 1) if (!to.write(block)) await once(to, 'drain');
      };
      const go = Promise.withResolvers<void>();
      const hashOf = async (from: Readable) => {
        await go.promise;
        const hash = createHash('sha256');
        let left = blocks << 18;
        for await (const chunk of from as AsyncIterable<Buffer>) {
          hash.update(chunk);
          left -= chunk.length;
          if (left === 0) break;
        }
        return hash.digest('hex');
      };
      const received = Promise.withResolvers<string>();
      await using server = await httpServer((request, response) => {
        if (direction === 'up') received.resolve(hashOf(request));
        else {
          response.setHeader('content-length', blocks << 18);
          void sendAll(response);
        }
      });
      await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
      const where = `web.test:${server.port}`;
      using wire = new Wire(gate.socketPath);
      if (direction === 'up') {
        wire.send(
          `POST http://${where}/ HTTP/1.1\r\nHost: ${where}\r\nContent-Length: ${blocks << 18}\r\n\r\n`,
        );
        void sendAll(wire.socket);
      } else {
        wire.send(get(where, '/'));
        await wire.until((text) => text.includes('\r\n\r\n'));
        wire.socket.pause();
        wire.socket.removeAllListeners('data');
        wire.socket.unshift(wire.received.subarray(wire.received.indexOf('\r\n\r\n') + 4));
        received.resolve(hashOf(wire.socket));
      }
      // It has stopped once it is where it was a while ago.
      for (let before = -1; before !== sent;) {
        before = sent;
        await sleep(150);
      }
      assert.ok(sent < 64, `${sent} of ${blocks} blocks were taken while nobody read`);
      go.resolve();
      assert.equal(await received.promise, whole.digest('hex'));
    });
  }
});

describe('WebSocket', () => {
  const key = 'dGhlIHNhbXBsZSBub25jZQ==';
  const accept = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
  const ask = (where: string, upgrade = 'websocket') =>
    get(
      where,
      '/ws',
      `Connection: keep-alive, Upgrade\r\nUpgrade: ${upgrade}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n`,
    );

  test('goes both ways after the switch, each half on its own', async () => {
    await using server = await rawServer((socket) => {
      socket.once('data', (head) => {
        assert.match(head.toString(), /Connection: Upgrade\r\nUpgrade: websocket\r\n/);
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\nfirst`,
        );
        socket.on('data', (frame) => socket.write(`<${frame.toString()}>`));
        socket.on('end', () => socket.end('last'));
      });
    });
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    using wire = new Wire(gate.socketPath);
    wire.send(ask(`web.test:${server.port}`));
    await wire.until((text) => text.endsWith('first'));
    for (const frame of ['a', 'b', 'c']) {
      wire.send(frame);
      await wire.until((text) => text.endsWith(`<${frame}>`));
    }
    wire.socket.end();
    await wire.closed();
    assert.match(wire.text, /last$/);
    assert.deepEqual(
      (await gate.log()).map(({ event, status }) => [event, status]),
      [
        ['open', 101],
        ['close', 101],
      ],
    );
  });

  test('a host that did not understand the wish does not get a tunnel', async () => {
    await using server = await rawServer((socket) =>
      socket.once('data', () =>
        socket.write(
          'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n',
        ),
      ),
    );
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    using wire = new Wire(gate.socketPath);
    wire.send(ask(`web.test:${server.port}`));
    assert.deepEqual(reasons(await wire.until((text) => text.includes('upstream'))), ['upstream-malformed']);
  });

  test('another protocol is not asked for', async () => {
    const seen = Promise.withResolvers<string>();
    await using server = await rawServer((socket) =>
      socket.once('data', (head) => {
        seen.resolve(head.toString());
        socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      }),
    );
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
    using wire = new Wire(gate.socketPath);
    wire.send(ask(`web.test:${server.port}`, 'h2c'));
    assert.doesNotMatch(await seen.promise, /upgrade/i);
  });
});
