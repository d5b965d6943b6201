import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { AuditUnwritable } from '../../src/gate/errors.ts';
import type { Inlet } from '../../src/gate/inlet.ts';
import { parseRule } from '../../src/gate/rule.ts';
import {
  allow,
  deny,
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

const command = (action: 'allow' | 'deny', text: string) =>
  parseRule(
    text,
    { action, origin: { kind: 'command', command: action } },
    action === 'allow' ? ['loopback'] : [],
  );

describe('a refusal', () => {
  test('says what, why, that it is policy, and the command that allows it', async () => {
    await using gate = await startGate({ rules: [] });
    const answer = await raw(gate.socketPath, get('evil.example:8080', '/x/y?token=secret'));
    assert.match(answer, /^HTTP\/1.1 403 Forbidden by claude-bottle policy\r\n/);
    assert.match(answer, /X-Claude-Bottle-Reason: no-rule\r\n/);
    assert.match(answer, /GET http:\/\/evil\.example:8080\/x\/y\n/);
    assert.match(answer, /no rule allows it/);
    assert.match(answer, /not an outage/);
    assert.match(answer, /\n {2}claude-bottle allow demo-x1y2z evil\.example:8080\n$/);
    assert.doesNotMatch(answer, /secret/);
  });

  test('has the same words for a tunnel and for a plain request', async () => {
    await using gate = await startGate({ rules: [] });
    const body = (answer: string) => answer.split('\r\n\r\n')[1]!.replace(/^what:.*$/m, '');
    const plain = await raw(gate.socketPath, get('evil.example:443'));
    const tunnel = await raw(gate.socketPath, 'CONNECT evil.example:443 HTTP/1.1\r\n\r\n');
    assert.equal(body(tunnel), body(plain));
    assert.match(tunnel, /^HTTP\/1.1 403 .*\r\n(?:.*\r\n)*X-Claude-Bottle-Reason: no-rule\r\n/);
  });

  test('names the rule and the file that deny', async () => {
    await using gate = await startGate({ rules: [allow('**.example.com', 3), deny('bad.example.com', 12)] });
    const answer = await raw(gate.socketPath, get('bad.example.com'));
    assert.match(answer, /rule: {2}deny bad\.example\.com \(bottles\/test\.md:12\)/);
    assert.match(answer, /X-Claude-Bottle-Reason: denied/);
    assert.doesNotMatch(answer, /claude-bottle allow/, 'the command would not help');
  });

  test('of a HEAD has no body, and the connection goes on', async () => {
    await using gate = await startGate({ rules: [] });
    const head = 'HEAD http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n';
    const answer = await raw(
      gate.socketPath,
      head + head.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'),
    );
    assert.deepEqual(statuses(answer), [403, 403]);
    assert.doesNotMatch(answer, /blocked/);
  });

  test('is told apart from a host that cannot be reached', async () => {
    await using server = await rawServer(() => undefined);
    const { port } = server;
    await server[Symbol.asyncDispose]();
    await using gate = await startGate({ rules: [allow(`web.test:${port}`)] });
    const answer = await raw(gate.socketPath, get(`web.test:${port}`));
    assert.match(
      answer,
      /^HTTP\/1.1 502 [^]*X-Claude-Bottle-Reason: unreachable[^]*ECONNREFUSED[^]*The policy allows this host/,
    );
    const lost = await startGate({
      rules: [allow('web.test')],
      network: {
        ...loopbackNetwork,
        resolve: () => Promise.reject(Object.assign(new Error(), { code: 'ENOTFOUND' })),
      },
    });
    await using _ = lost;
    assert.deepEqual(reasons(await raw(lost.socketPath, 'CONNECT web.test:443 HTTP/1.1\r\n\r\n')), [
      'unresolved',
    ]);
    assert.deepEqual(
      (await lost.log()).map(({ decision }) => decision),
      ['fail'],
    );
  });
});

describe('addresses', () => {
  const resolving = (...answers: string[][]) => {
    const dialled: string[] = [];
    let asked = 0;
    return {
      dialled,
      asked: () => asked,
      network: {
        ...loopbackNetwork,
        resolve: () => Promise.resolve(answers[Math.min(asked++, answers.length - 1)]!),
        connect(address: string, port: number, inlet: Inlet) {
          dialled.push(address);
          return connect({ host: '127.0.0.1', port, allowHalfOpen: true, onread: inlet });
        },
      },
    };
  };
  const plain = (port: number) =>
    parseRule(`web.test:${port}`, { action: 'allow', origin: { kind: 'file', path: 'b.md', line: 1 } });

  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    '169.254.169.254',
    '::1',
    'fd00::1',
    '::ffff:127.0.0.1',
    '64:ff9b::7f00:1',
    '100.64.0.1',
    '0.0.0.0',
    'fe80::1%eth0',
  ]) {
    test(`a name that leads to ${address} is not dialled`, async () => {
      await using server = await httpServer((_, response) => response.end('ok'));
      const { network, dialled } = resolving([address]);
      await using gate = await startGate({ rules: [plain(server.port)], network });
      const answer = await raw(gate.socketPath, get(`web.test:${server.port}`));
      assert.deepEqual([statuses(answer), reasons(answer), dialled], [[403], ['address'], []]);
      assert.match(answer, /--reach [a-z-]+\n$/);
    });
  }

  test('one bad answer among good ones refuses the name', async () => {
    const { network, dialled } = resolving(['93.184.215.14', '192.168.0.1']);
    await using gate = await startGate({ rules: [plain(80)], network });
    assert.deepEqual(reasons(await raw(gate.socketPath, get('web.test'))), ['address']);
    assert.deepEqual(dialled, []);
  });

  test('an address of this host is not dialled, public or not', async () => {
    const { network } = resolving(['93.184.215.14']);
    await using gate = await startGate({
      rules: [plain(80)],
      network: { ...network, ownAddresses: () => ['93.184.215.14'] },
    });
    assert.match(await raw(gate.socketPath, get('web.test')), /an address of the kind "own"/);
  });

  test('a name is resolved once, and what was checked is what is dialled', async () => {
    await using server = await httpServer((_, response) => response.end('ok'));
    const { network, dialled, asked } = resolving(['93.184.215.14'], ['127.0.0.1']);
    await using gate = await startGate({ rules: [plain(server.port)], network });
    const first = await raw(gate.socketPath, get(`web.test:${server.port}`));
    assert.deepEqual([statuses(first), dialled, asked()], [[200], ['93.184.215.14'], 1]);
    const second = await raw(gate.socketPath, get(`web.test:${server.port}`));
    assert.deepEqual([reasons(second), dialled.length, asked()], [['address'], 1, 2]);
  });

  test('a listed address is dialled without asking anybody', async () => {
    await using server = await httpServer((_, response) => response.end('ok'));
    const { network, asked } = resolving(['10.0.0.1']);
    await using gate = await startGate({
      rules: [
        parseRule(`127.0.0.1:${server.port}`, {
          action: 'allow',
          origin: { kind: 'file', path: 'b.md', line: 1 },
        }),
      ],
      network,
    });
    assert.deepEqual(statuses(await raw(gate.socketPath, get(`127.0.0.1:${server.port}`))), [200]);
    assert.deepEqual(reasons(await raw(gate.socketPath, get(`127.0.0.2:${server.port}`))), ['no-rule']);
    assert.equal(asked(), 0);
  });

  test('an address that does not answer gives way to the next', async () => {
    await using server = await httpServer((_, response) => response.end('ok'));
    const { network } = resolving(['93.184.215.14', '2606:4700::1']);
    const failing = {
      ...network,
      connect: (address: string, port: number, inlet: Inlet) =>
        network.connect(address, address.includes(':') ? port : 1, inlet),
    };
    await using gate = await startGate({ rules: [plain(server.port)], network: failing });
    assert.deepEqual(statuses(await raw(gate.socketPath, get(`web.test:${server.port}`))), [200]);
    assert.equal((await gate.log())[0]!.address, '2606:4700::1');
  });
});

describe('the log', () => {
  test('has one line a request, and no query, user, header or body', async () => {
    await using server = await httpServer((request, response) =>
      request.resume().on('end', () => response.end('answer')),
    );
    await using gate = await startGate({ rules: [allow(`web.test:${server.port}`, 7)] });
    const where = `web.test:${server.port}`;
    await raw(
      gate.socketPath,
      `POST http://${where}/a?key=SECRET1 HTTP/1.1\r\nHost: ${where}\r\nAuthorization: SECRET2\r\nConnection: close\r\nContent-Length: 7\r\n\r\nSECRET3`,
    );
    await raw(
      gate.socketPath,
      'GET http://user:SECRET4@evil.example/?SECRET5 HTTP/1.1\r\nHost: evil.example\r\n\r\n',
    );
    await raw(gate.socketPath, get('evil.example', '/?SECRET6'));
    const [posted, broken, blocked] = await gate.log();
    const { time, ms, ...rest } = posted!;
    assert.ok(!Number.isNaN(Date.parse(time)) && ms >= 0);
    assert.deepEqual(rest, {
      slug: 'demo-x1y2z',
      event: 'request',
      decision: 'allow',
      host: 'web.test',
      port: server.port,
      method: 'POST',
      path: '/a',
      rule: `allow ${where} reach loopback`,
      origin: 'bottles/test.md:7',
      status: 200,
      address: '127.0.0.1',
      in: 6,
      out: 7,
    });
    assert.deepEqual([broken!.decision, broken!.reason, broken!.host], ['deny', 'malformed', undefined]);
    assert.deepEqual([blocked!.decision, blocked!.reason, blocked!.path], ['deny', 'no-rule', '/']);
    assert.doesNotMatch(await gate.logText(), /SECRET/);
  });

  test('has lines of bounded size, in plain ASCII', async () => {
    await using gate = await startGate({ rules: [] });
    await raw(gate.socketPath, get('evil.example', `/${'a'.repeat(60_000)}`));
    await raw(gate.socketPath, Buffer.from('GET http://evil.example/\x1b[31m HTTP/1.1\r\n\r\n', 'latin1'));
    await gate.log();
    for (const line of (await gate.logText()).split('\n')) {
      assert.ok(line.length < 2000);
      assert.match(line, /^[\x20-\x7e]*$/);
    }
  });

  test('is put aside when it has grown, and the oldest goes', async () => {
    await using base = await startGate({ rules: [] });
    const path = `${base.socketPath}.rotating.jsonl`;
    await using gate = await startGate({ rules: [], audit: { path, maxBytes: 1000, keep: 3 } });
    for (let n = 0; n < 40; n += 1) await raw(gate.socketPath, get('evil.example', `/${n}`));
    const directory = path.slice(0, path.lastIndexOf('/'));
    const files = (await readdir(directory)).filter((name) => name.includes('rotating')).sort();
    assert.deepEqual(
      files.map((name) => name.replace(/.*rotating/, '')),
      ['.jsonl', '.jsonl.1', '.jsonl.2'],
    );
    for (const name of files) assert.ok((await stat(`${directory}/${name}`)).size <= 1000);
  });

  test('that cannot be written closes the gate', async () => {
    await using server = await rawServer((socket) => void socket.on('data', () => socket.write('x')));
    await using gate = await startGate({
      rules: [allow(`web.test:${server.port}`)],
      audit: { path: '/dev/full' },
    });
    using tunnel = new Wire(gate.socketPath);
    tunnel.send(`CONNECT web.test:${server.port} HTTP/1.1\r\n\r\n`);
    await tunnel.closed();
    const failure = await gate.gate.closed;
    assert.ok(failure instanceof AuditUnwritable);
    assert.equal(failure.fields.code, 'ENOSPC');
    await assert.rejects(once(connect(gate.socketPath), 'connect'));
  });
});

describe('live changes', () => {
  test('allow opens for the next request, deny closes again and cuts what is under way', async () => {
    await using server = await rawServer((socket) => void socket.on('data', (chunk) => socket.write(chunk)));
    await using gate = await startGate({ rules: [] });
    const where = `web.test:${server.port}`;
    const ask = `CONNECT ${where} HTTP/1.1\r\n\r\n`;
    assert.deepEqual(statuses(await raw(gate.socketPath, ask)), [403]);
    assert.deepEqual(gate.gate.apply(command('allow', where)), { overruledBy: undefined, cut: 0 });
    using tunnel = new Wire(gate.socketPath);
    tunnel.send(ask);
    await tunnel.until((text) => text.includes('200'));
    tunnel.send('ping');
    await tunnel.until((text) => text.endsWith('ping'));
    assert.deepEqual(gate.gate.apply(command('deny', where)), { overruledBy: undefined, cut: 1 });
    await tunnel.closed();
    assert.match(
      await raw(gate.socketPath, ask),
      /rule: {2}deny .*\(claude-bottle deny\)[^]*claude-bottle allow demo-x1y2z/,
    );
    const lines = await gate.log();
    assert.deepEqual(
      lines.map(({ event, decision, reason }) => [event, decision, reason]),
      [
        ['request', 'deny', 'no-rule'],
        ['policy', 'allow', undefined],
        ['open', 'allow', undefined],
        ['policy', 'deny', undefined],
        ['close', 'deny', 'denied-meanwhile'],
        ['request', 'deny', 'denied'],
      ],
    );
    gate.gate.apply(command('allow', where));
    using again = new Wire(gate.socketPath);
    again.send(ask);
    await again.until((text) => text.includes('200'));
  });

  test('a stream is cut, and a kept connection to the host is not used again', async () => {
    await using server = await httpServer((request, response) => {
      if (request.url === '/once') return void response.end('once');
      response.flushHeaders();
    });
    const where = `web.test:${server.port}`;
    await using gate = await startGate({ rules: [allow(where)] });
    using wire = new Wire(gate.socketPath);
    wire.send(get(where, '/once', ''));
    await wire.until((text) => text.endsWith('once'));
    using stream = new Wire(gate.socketPath);
    stream.send(get(where, '/events', ''));
    await stream.until((text) => text.includes('\r\n\r\n'));
    assert.equal(gate.gate.apply(command('deny', where)).cut, 1);
    await stream.closed();
    wire.send(get(where, '/once', ''));
    await wire.until((text) => statuses(text).length === 2);
    assert.deepEqual(reasons(wire.text), ['denied']);
  });

  test('a request that waits for its answer is told so', async () => {
    const asked = Promise.withResolvers<void>();
    await using server = await httpServer(() => asked.resolve());
    const where = `web.test:${server.port}`;
    await using gate = await startGate({ rules: [allow(where)] });
    const answer = raw(gate.socketPath, get(where));
    await asked.promise;
    gate.gate.apply(command('deny', where));
    assert.deepEqual(reasons(await answer), ['denied-meanwhile']);
  });

  test('a rule of a file that denies stays, and is named', async () => {
    const rule = deny('web.test');
    await using gate = await startGate({ rules: [rule] });
    assert.equal(gate.gate.apply(command('allow', 'web.test')).overruledBy, rule);
    assert.deepEqual(reasons(await raw(gate.socketPath, get('web.test'))), ['denied']);
  });
});
