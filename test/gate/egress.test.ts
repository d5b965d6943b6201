import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { allow, deny, get, httpServer, loopbackNetwork, raw, rawServer, startGate, Wire } from './world.ts';
import { parseRule } from '../../src/gate/rule.ts';

describe('the summary of where a bottle went', () => {
  test('has hosts that were reached, with their requests and bytes', async () => {
    await using server = await httpServer((_, response) => response.end('hello'));
    await using echo = await rawServer((socket) => void socket.on('data', (bytes) => socket.end(bytes)));
    const [web, tunnel] = [`web.test:${server.port}`, `tunnel.test:${echo.port}`];
    await using gate = await startGate({ rules: [allow(web), allow(tunnel), allow('gone.test:1')] });
    await raw(gate.socketPath, get(web));
    await raw(gate.socketPath, get(web));
    await raw(gate.socketPath, get('gone.test:1'));
    await raw(gate.socketPath, `CONNECT ${tunnel} HTTP/1.1\r\n\r\nfour`, { end: true });
    const { reached, ...sums } = gate.gate.egress();
    assert.deepEqual(
      reached.map(({ host, requests, failed, in: down, out }) => [host, requests, failed, down, out]),
      [
        ['web.test', 2, 0, 10, 0],
        ['gone.test', 1, 1, 0, 0],
        ['tunnel.test', 1, 0, 4, 4],
      ],
    );
    assert.deepEqual(sums, { allowed: 3, denied: 0, failed: 1, in: 14, out: 4, refused: [], unlisted: 0 });
  });

  test('has hosts that were refused, with the command that allows them where one would help', async () => {
    await using gate = await startGate({
      rules: [
        deny('denied.test', 7),
        parseRule('inner.test', { action: 'allow', origin: { kind: 'file', path: 'b', line: 1 } }),
      ],
      network: { ...loopbackNetwork, resolve: () => Promise.resolve(['10.1.2.3']) },
    });
    await raw(gate.socketPath, get('new.test:8080'));
    await raw(gate.socketPath, get('new.test:8080'));
    await raw(gate.socketPath, get('denied.test'));
    await raw(gate.socketPath, 'CONNECT inner.test:443 HTTP/1.1\r\n\r\n');
    await raw(gate.socketPath, 'nonsense\r\n\r\n');
    assert.deepEqual(gate.gate.egress().refused, [
      {
        host: 'new.test',
        port: 8080,
        requests: 2,
        reason: 'no-rule',
        allow: 'claude-bottle allow demo-x1y2z new.test:8080',
      },
      { host: 'denied.test', port: 80, requests: 1, reason: 'denied' },
      {
        host: 'inner.test',
        port: 443,
        requests: 1,
        reason: 'address',
        allow: 'claude-bottle allow demo-x1y2z inner.test --reach private',
      },
    ]);
    assert.equal(gate.gate.counts.denied, 5);
  });

  test('does not hold what the seal check asks, but the log does', async () => {
    await using gate = await startGate({ rules: [] });
    await raw(gate.socketPath, get('canary-1.invalid'));
    await raw(gate.socketPath, get('gate.claude-bottle.internal'));
    const { allowed, denied, failed } = gate.gate.counts;
    assert.deepEqual([allowed, denied, failed], [0, 0, 0]);
    assert.deepEqual(gate.gate.egress().refused, []);
    assert.equal((await gate.log()).length, 2);
  });

  test('stays small, however many names are asked for', async () => {
    await using gate = await startGate({ rules: [] });
    using wire = new Wire(gate.socketPath);
    const count = 2000;
    for (let n = 0; n < count; n += 1) {
      wire.send(`GET http://n${n}.test/ HTTP/1.1\r\nHost: n${n}.test\r\n\r\n`);
    }
    wire.send(get('n0.test'));
    await wire.closed();
    const { denied, refused, unlisted } = gate.gate.egress();
    assert.deepEqual([denied, refused.length, unlisted], [count + 1, 256, count - 256]);
    assert.equal(refused[0]!.host, 'n0.test');
    const few = gate.gate.egress(3);
    assert.deepEqual([few.refused.length, few.unlisted], [3, count + 1 - 4]);
  });
});
