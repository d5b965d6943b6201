import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { allow, raw, rawServer, reasons, startGate, statuses, Wire } from './world.ts';

/** A host that answers every request with 200 and remembers what it was sent. */
async function host() {
  const received: string[] = [];
  const server = await rawServer((socket) => {
    const index = received.push('') - 1;
    socket.on('data', (chunk) => {
      received[index] += chunk.toString('latin1');
      if (received[index]!.includes('\r\n\r\n'))
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    socket.on('end', () => socket.end());
  });
  return { ...server, received, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** `@` stands for the allowed host and its port. */
const refused: [name: string, request: string, reason?: string][] = [
  [
    'two different lengths',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde',
  ],
  [
    'the same length twice',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd',
  ],
  ['a list of lengths', 'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length: 4, 4\r\n\r\nabcd'],
  ['a length with a sign', 'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length: +4\r\n\r\nabcd'],
  ['a negative length', 'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length: -1\r\n\r\n'],
  ['a hexadecimal length', 'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length: 0x4\r\n\r\nabcd'],
  ['an empty length', 'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length:\r\n\r\n'],
  [
    'a length beyond all bounds',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length: 99999999999999999999\r\n\r\n',
  ],
  [
    'length and chunks',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  [
    'chunks and length',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n',
  ],
  ['two codings', 'POST http://@/ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
  [
    'chunked twice',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  [
    'chunked, then identity',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n',
  ],
  ['an unknown coding', 'POST http://@/ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
  [
    'a coding behind a vertical tab',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n',
  ],
  [
    'a coding in quotes',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
  ],
  ['chunks in HTTP/1.0', 'POST http://@/ HTTP/1.0\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a lone LF after the request line', 'GET http://@/ HTTP/1.1\nHost: @\r\n\r\n'],
  ['a lone LF after a field', 'GET http://@/ HTTP/1.1\r\nHost: @\nX: y\r\n\r\n'],
  ['a lone LF at the end', 'GET http://@/ HTTP/1.1\r\nHost: @\r\n\n'],
  ['a lone CR in a field', 'GET http://@/ HTTP/1.1\r\nHost: @\r\nX: a\rY: b\r\n\r\n'],
  ['a lone CR in the target', 'GET http://@/\ra HTTP/1.1\r\nHost: @\r\n\r\n'],
  ['a folded line', 'GET http://@/ HTTP/1.1\r\nHost: @\r\nX: a\r\n b\r\n\r\n'],
  ['a line that begins with a tab', 'GET http://@/ HTTP/1.1\r\nHost: @\r\n\tX: a\r\n\r\n'],
  ['white space before the first field', 'GET http://@/ HTTP/1.1\r\n Host: @\r\n\r\n'],
  ['a space before the colon', 'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length : 4\r\n\r\nabcd'],
  [
    'a tab before the colon',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['a field without a colon', 'GET http://@/ HTTP/1.1\r\nHost: @\r\nX\r\n\r\n'],
  ['a field without a name', 'GET http://@/ HTTP/1.1\r\nHost: @\r\n: x\r\n\r\n'],
  ['NUL in a name', 'GET http://@/ HTTP/1.1\r\nHost: @\r\nX\0: a\r\n\r\n'],
  ['NUL in a value', 'GET http://@/ HTTP/1.1\r\nHost: @\r\nX: a\0b\r\n\r\n'],
  ['a control character in a value', 'GET http://@/ HTTP/1.1\r\nHost: @\r\nX: a\x1b[2Jb\r\n\r\n'],
  ['DEL in a value', 'GET http://@/ HTTP/1.1\r\nHost: @\r\nX: a\x7fb\r\n\r\n'],
  ['no Host', 'GET http://@/ HTTP/1.1\r\n\r\n'],
  ['two Hosts', 'GET http://@/ HTTP/1.1\r\nHost: @\r\nHost: @\r\n\r\n'],
  ['another Host', 'GET http://@/ HTTP/1.1\r\nHost: evil.example\r\n\r\n', 'host-mismatch'],
  ['another port in Host', 'GET http://@/ HTTP/1.1\r\nHost: web.test:1\r\n\r\n', 'host-mismatch'],
  ['a Host with two names', 'GET http://@/ HTTP/1.1\r\nHost: @, evil.example\r\n\r\n', 'ambiguous-host'],
  ['a user name in the target', 'GET http://evil.example@@/ HTTP/1.1\r\nHost: @\r\n\r\n'],
  [
    'a backslash in the authority',
    'GET http://@\\evil.example/ HTTP/1.1\r\nHost: @\r\n\r\n',
    'ambiguous-host',
  ],
  [
    'percent-encoding in the authority',
    'GET http://web%2etest/ HTTP/1.1\r\nHost: @\r\n\r\n',
    'ambiguous-host',
  ],
  [
    'a number for an address',
    'GET http://2130706433/ HTTP/1.1\r\nHost: 2130706433\r\n\r\n',
    'ambiguous-host',
  ],
  ['an empty authority', 'GET http:///x HTTP/1.1\r\nHost: @\r\n\r\n', 'ambiguous-host'],
  ['a fragment', 'GET http://@/#x HTTP/1.1\r\nHost: @\r\n\r\n'],
  ['https in the open', 'GET https://@/ HTTP/1.1\r\nHost: @\r\n\r\n', 'not-proxy-form'],
  ['ftp', 'GET ftp://@/ HTTP/1.1\r\nHost: @\r\n\r\n', 'not-proxy-form'],
  ['a file', 'GET file:///etc/passwd HTTP/1.1\r\nHost: @\r\n\r\n', 'not-proxy-form'],
  ['a path only', 'GET / HTTP/1.1\r\nHost: @\r\n\r\n', 'not-proxy-form'],
  ['an asterisk', 'OPTIONS * HTTP/1.1\r\nHost: @\r\n\r\n', 'not-proxy-form'],
  ['a target without a scheme', 'GET //@/ HTTP/1.1\r\nHost: @\r\n\r\n', 'not-proxy-form'],
  ['two spaces in the request line', 'GET  http://@/ HTTP/1.1\r\nHost: @\r\n\r\n'],
  ['a tab in the request line', 'GET\thttp://@/ HTTP/1.1\r\nHost: @\r\n\r\n'],
  ['a space in the target', 'GET http://@/a b HTTP/1.1\r\nHost: @\r\n\r\n'],
  ['bytes beyond ASCII in the target', 'GET http://@/\xe9 HTTP/1.1\r\nHost: @\r\n\r\n'],
  ['HTTP/0.9', 'GET http://@/\r\n\r\n'],
  ['HTTP/2.0', 'GET http://@/ HTTP/2.0\r\nHost: @\r\n\r\n'],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a lower-case version', 'GET http://@/ http/1.1\r\nHost: @\r\n\r\n'],
  ['a method with a bracket', 'GE(T http://@/ HTTP/1.1\r\nHost: @\r\n\r\n'],
  ['two empty lines first', '\r\n\r\nGET http://@/ HTTP/1.1\r\nHost: @\r\n\r\n'],
  ['a greeting of TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n'],
  ['Connection takes Host away', 'GET http://@/ HTTP/1.1\r\nHost: @\r\nConnection: close, host\r\n\r\n'],
  [
    'Connection takes the length away',
    'POST http://@/ HTTP/1.1\r\nHost: @\r\nConnection: content-length\r\nContent-Length: 4\r\n\r\nabcd',
  ],
  ['CONNECT without a port', 'CONNECT web.test HTTP/1.1\r\nHost: web.test\r\n\r\n', 'ambiguous-host'],
  ['CONNECT with a path', 'CONNECT @/ HTTP/1.1\r\nHost: @\r\n\r\n', 'ambiguous-host'],
  ['CONNECT with a URL', 'CONNECT http://@ HTTP/1.1\r\nHost: @\r\n\r\n', 'ambiguous-host'],
  ['CONNECT with another Host', 'CONNECT @ HTTP/1.1\r\nHost: evil.example\r\n\r\n', 'host-mismatch'],
  ['CONNECT with a body', 'CONNECT @ HTTP/1.1\r\nHost: @\r\nContent-Length: 4\r\n\r\nabcd'],
  ['CONNECT with chunks', 'CONNECT @ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['257 fields', `GET http://@/ HTTP/1.1\r\nHost: @\r\n${'X: y\r\n'.repeat(256)}\r\n`, 'too-large'],
  [
    'a head of 65 KiB',
    `GET http://@/ HTTP/1.1\r\nHost: @\r\nX: ${'y'.repeat(65 << 10)}\r\n\r\n`,
    'too-large',
  ],
  ['a head that never ends', `GET http://@/${'a'.repeat(70 << 10)}`, 'too-large'],
];

describe('a request with two readings is refused before anybody is asked', () => {
  for (const [name, request, reason = 'malformed'] of refused) {
    test(name, async () => {
      await using server = await host();
      await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
      const text = request
        .replaceAll('@@', `@web.test:${server.port}`)
        .replaceAll('@', () => `web.test:${server.port}`);
      const follow = `GET http://web.test:${server.port}/smuggled HTTP/1.1\r\nHost: web.test:${server.port}\r\n\r\n`;
      const bytes =
        name === 'a user name in the target'
          ? request
              .replaceAll('@@', `@web.test:${server.port}`)
              .replace('Host: @', `Host: web.test:${server.port}`)
          : text;
      const answer = await raw(gate.socketPath, Buffer.from(bytes + follow, 'latin1'));
      assert.deepEqual([statuses(answer).length, reasons(answer)], [1, [reason]], answer);
      assert.ok([400, 408, 431].includes(statuses(answer)[0]!));
      assert.match(answer, /Connection: close/);
      assert.equal(server.connections(), 0, 'the host saw nothing');
      assert.doesNotMatch(await gate.logText(), /smuggled/);
    });
  }
});

/** Bodies that turn out wrong after the head was passed on: the host must see the connection break, not a request end. */
const badChunks: [name: string, body: string][] = [
  ['a size that is no number', 'zz\r\nab\r\n0\r\n\r\n'],
  ['an empty size', '\r\nab\r\n0\r\n\r\n'],
  ['a size with 0x', '0x2\r\nab\r\n0\r\n\r\n'],
  ['a negative size', '-2\r\nab\r\n0\r\n\r\n'],
  ['a size in front of a space', '2 \r\nab\r\n0\r\n\r\n'],
  ['a size behind a space', ' 2\r\nab\r\n0\r\n\r\n'],
  ['a size of 17 digits', '10000000000000002\r\nab\r\n0\r\n\r\n'],
  ['a lone LF after the size', '2\nab\r\n0\r\n\r\n'],
  ['a lone LF after the data', '2\r\nab\n0\r\n\r\n'],
  ['more data than the size', '2\r\nabc\r\n0\r\n\r\n'],
  ['less data than the size', '3\r\nab\r\n0\r\n\r\n'],
  ['a lone CR in an extension', '2;a=\rb\r\nab\r\n0\r\n\r\n'],
  ['NUL in an extension', '2;a=\0\r\nab\r\n0\r\n\r\n'],
  ['an endless extension', `2;${'a'.repeat(2000)}\r\nab\r\n0\r\n\r\n`],
  ['a trailer that is no field', '2\r\nab\r\n0\r\nx y: z\r\n\r\n'],
  ['a folded trailer', '2\r\nab\r\n0\r\nX: y\r\n z\r\n\r\n'],
  ['endless trailers', `2\r\nab\r\n0\r\n${'X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n'.repeat(600)}`],
];

describe('a body with two readings breaks the connection to the host', () => {
  for (const [name, body] of badChunks) {
    test(name, async () => {
      let received = '';
      let isWhole = false;
      const gone = Promise.withResolvers<void>();
      await using server = await rawServer((socket) => {
        socket.on('data', (chunk) => {
          received += chunk.toString('latin1');
          isWhole ||= /\r\n0\r\n(?:.*\r\n)*\r\n$/.test(received.split('\r\n\r\n').slice(1).join('\r\n\r\n'));
        });
        socket.on('end', () => socket.end());
        socket.on('close', () => gone.resolve());
      });
      await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
      const where = `web.test:${server.port}`;
      const head = `POST http://${where}/ HTTP/1.1\r\nHost: ${where}\r\nTransfer-Encoding: chunked\r\n\r\n`;
      const answer = await raw(gate.socketPath, Buffer.from(head + body, 'latin1'));
      assert.deepEqual(statuses(answer), [name === 'endless trailers' ? 431 : 400], answer);
      await gone.promise;
      assert.equal(isWhole, false, received);
    });
  }
});

describe('an answer with two readings does not reach the client', () => {
  const answers: [name: string, answer: string][] = [
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
    [
      'length and chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['a lone LF', 'HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n'],
    ['a folded line', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n'],
    ['NUL in a value', 'HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n'],
    ['no status line', 'hello\r\n\r\n'],
    [
      'a switch that nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n',
    ],
    ['a head of 65 KiB', `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(65 << 10)}\r\n\r\n`],
    ['33 interim answers', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(33)],
  ];
  for (const [name, answer] of answers) {
    test(name, async () => {
      await using server = await rawServer((socket) =>
        socket.once('data', () => socket.end(Buffer.from(answer, 'latin1'))),
      );
      await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
      const where = `web.test:${server.port}`;
      const got = await raw(
        gate.socketPath,
        `GET http://${where}/ HTTP/1.1\r\nHost: ${where}\r\nConnection: close\r\n\r\n`,
      );
      assert.equal(statuses(got).at(-1), 502, got);
      assert.deepEqual(reasons(got), ['upstream-malformed']);
      assert.match(got, /The policy allows this host/);
    });
  }
});

test('what a host says beyond its answer is not taken for the next answer', async () => {
  await using server = await rawServer((socket) => {
    let n = 0;
    socket.on('data', () => {
      n += 1;
      socket.write(
        `HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${n}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`,
      );
    });
  });
  await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
  const where = `web.test:${server.port}`;
  using wire = new Wire(gate.socketPath);
  for (const expected of [1, 2]) {
    wire.send(`GET http://${where}/${expected} HTTP/1.1\r\nHost: ${where}\r\n\r\n`);
    await wire.until((text) => statuses(text).length === expected && text.endsWith('\r\n\r\n1'));
  }
  assert.doesNotMatch(wire.text, /evil/);
  assert.equal(server.connections(), 2);
});

test('an empty line before a request is forgiven', async () => {
  await using server = await host();
  await using gate = await startGate({ rules: [allow(`web.test:${server.port}`)] });
  const where = `web.test:${server.port}`;
  const answer = await raw(
    gate.socketPath,
    `\r\nGET http://${where}/ HTTP/1.1\r\nHost: ${where}\r\nConnection: close\r\n\r\n`,
  );
  assert.deepEqual(statuses(answer), [200]);
});
