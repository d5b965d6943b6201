import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { before, describe, test } from 'node:test';
import { evaluateSeal, probeArguments, sealChecks } from '../../src/gate/seal.ts';
import { run } from '../../src/process/run.ts';
import { httpServer, rawServer, startGate, allow } from '../gate/world.ts';
import { bottleInit, build, built, docker, runSealed } from './guest.ts';
import type { Event } from './supervisor.ts';

before(build);

const env = { ASAN_OPTIONS: 'detect_leaks=0' };

async function probe(...attempts: string[]): Promise<Event[]> {
  const { code, stdout, stderr } = await run(built.sanitized, ['probe', ...attempts], { env });
  assert.equal(code, 0, stderr);
  return reports(stdout);
}

function reports(stdout: string): Event[] {
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Event)
    .sort((a, b) => (a.check! < b.check! ? -1 : 1));
}

const said = (events: readonly Event[]) => events.map(({ outcome, detail }) => `${outcome}: ${detail}`);

/** Answers every datagram, or takes it and says nothing. */
async function datagrams(answers: boolean, address = '127.0.0.1') {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4').bind(0, address);
  await once(socket, 'listening');
  const questions: Buffer[] = [];
  socket.on('message', (bytes, from) => {
    questions.push(bytes);
    if (answers) socket.send('anything', from.port, from.address);
  });
  return {
    port: socket.address().port,
    questions,
    [Symbol.dispose]: () => {
      socket.close();
    },
  };
}

/** The address under which containers of the default bridge reach this host. */
async function bridge(): Promise<string> {
  const format = '{{index .Options "com.docker.network.bridge.name"}}';
  const { stdout, stderr } = await docker(['network', 'inspect', 'bridge', `--format=${format}`]);
  assert.notEqual(stdout.trim(), '', stderr);
  const { stdout: addresses } = await run('ip', ['-4', '-oneline', 'address', 'show', 'dev', stdout.trim()]);
  const address = /inet ([\d.]+)/.exec(addresses)?.[1];
  assert.ok(address !== undefined, addresses);
  return address;
}

describe('what a probe says', { timeout: 60_000 }, () => {
  test('a server that accepts has answered, over IPv4 and IPv6; a port without one has failed', async () => {
    for (const address of ['127.0.0.1', '::1']) {
      const server = createServer().listen(0, address);
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const [open, closed] = await probe(`a=tcp:${address}:${port}`, `b=tcp:${address}:1`);
      assert.deepEqual(open, { check: 'a', outcome: 'answered', detail: 'connected' });
      assert.deepEqual(closed, { check: 'b', outcome: 'failed', detail: 'Connection refused' });
      server.close();
    }
  });

  test('a datagram back is an answer, whatever is in it; silence and refusal are none', async () => {
    for (const address of ['127.0.0.1', '::1']) {
      using answering = await datagrams(true, address);
      using silent = await datagrams(false, address);
      assert.deepEqual(
        said(
          await probe(
            `a=udp:${address}:${answering.port}:canary-1.invalid`,
            `b=udp:${address}:${silent.port}:canary-1.invalid`,
            `c=udp:${address}:1:canary-1.invalid`,
          ),
        ),
        ['answered: a datagram came back', 'failed: Connection timed out', 'failed: Connection refused'],
      );
      // One question (RFC 1035): recursion desired, one name, A, IN.
      const [question] = answering.questions;
      assert.equal(
        question?.toString('latin1').slice(2),
        '\x01\0\0\x01\0\0\0\0\0\0\x08canary-1\x07invalid\0\0\x01\0\x01',
      );
    }
  });

  test('sixteen attempts that all take their second take one second together', async () => {
    using silent = await datagrams(false);
    const attempts = Array.from({ length: 16 }, (_, i) => `p${i}=udp:127.0.0.1:${silent.port}:n`);
    const began = performance.now();
    const events = await probe(...attempts);
    assert.ok(events.every(({ outcome }) => outcome === 'failed'));
    assert.equal(events.length, 16);
    // One after the other they would take sixteen.
    assert.ok(performance.now() - began < 12_000);
  });

  test('a URL is asked for directly: by address, by /etc/hosts, and the answer’s first line is the detail', async () => {
    const requests: string[] = [];
    await using server = await httpServer((request, response) => {
      requests.push(`${request.method} ${request.url} ${request.headers.host}`);
      response.end('body');
    });
    const { port } = server;
    const events = await probe(`a=direct:http://127.0.0.1:${port}/x`, `b=direct:http://LocalHost:${port}`);
    assert.deepEqual(said(events), ['answered: HTTP/1.1 200 OK', 'answered: HTTP/1.1 200 OK']);
    assert.deepEqual(requests.sort(), [`GET / LocalHost:${port}`, `GET /x 127.0.0.1:${port}`]);
  });

  test('a server that accepts and hangs up, or says nothing, is a way out all the same', async () => {
    await using server = await rawServer((socket) => socket.end());
    const { port } = server;
    assert.deepEqual(said(await probe(`a=direct:http://127.0.0.1:${port}/`)), ['answered: connected']);
  });

  test('an attempt that is none is an error, with what is wrong with it', async () => {
    const events = await probe(
      ...['a=', 'b=icmp:1.1.1.1', 'c=tcp:1.1.1.1', 'd=tcp:a.example:1', 'e=tcp:1.1.1.1:65536'],
      ...['f=proxy:https://a/', 'g=direct:http://a\r\nX: y/', 'h=udp:1.1.1.1:53:a..b', 'i=proxy:http://a@b/'],
    );
    assert.ok(
      events.every(({ outcome, detail }) => outcome === 'error' && detail !== ''),
      JSON.stringify(events),
    );
    assert.equal(events.length, 9);
  });

  test('what a server says is escaped, cut at 200 bytes, and one line', async () => {
    const nasty = `"\\\u0007\u001b[2J\u00e9${'x'.repeat(500)}`;
    await using server = await rawServer((socket) => socket.end(`${nasty}\nsecond`));
    const [event] = await probe(`a=direct:http://127.0.0.1:${server.port}/`);
    assert.equal(event!.detail, `"\\\u0007\u001b[2J??${'x'.repeat(500)}`.slice(0, 200));
  });
});

describe('probes in containers', { timeout: 60_000 }, () => {
  test('without a network everything fails at once, with the words of the kernel', async () => {
    const checks = sealChecks().filter(({ expected }) => expected === 'failed');
    const { stdout, stderr } = await runSealed(['probe', ...probeArguments(checks)]);
    assert.deepEqual(
      evaluateSeal(checks, stdout).map(({ check, passed, observed }) => [check.name, passed, observed]),
      [
        ['no-direct-name', true, 'failed: Network is unreachable'],
        ['no-tcp', true, 'failed: Network is unreachable'],
        ['no-dns', true, 'failed: Network is unreachable'],
        ['no-metadata', true, 'failed: Network is unreachable'],
      ],
      stderr,
    );
  });

  test('with a network TCP, UDP, a nameserver and a name are answered, and the seal is broken', async () => {
    const address = await bridge();
    await using server = await httpServer((_, response) => response.end('hello'));
    const outside = createServer((socket) =>
      socket.on('error', () => undefined).end('HTTP/1.1 204 No Content\r\n\r\n'),
    ).listen(0, address);
    await once(outside, 'listening');
    const { port } = outside.address() as AddressInfo;
    using resolver = await datagrams(true, address);
    const attempts = [
      `a=tcp:${address}:${port}`,
      `b=udp:${address}:${resolver.port}:canary.invalid`,
      `c=direct:http://outside.example:${port}/`,
      `d=tcp:127.0.0.1:${server.port}`,
    ];
    const options = [
      '--rm',
      `--volume=${bottleInit}:/bottle-init:ro`,
      `--add-host=outside.example:${address}`,
    ];
    const command = ['--entrypoint=/bottle-init', 'debian:bookworm-slim', 'probe', ...attempts];
    const { stdout, stderr } = await docker(['run', ...options, ...command]);
    outside.close();
    assert.deepEqual(
      said(reports(stdout)),
      [
        'answered: connected',
        'answered: a datagram came back',
        'answered: HTTP/1.1 204 No Content',
        'failed: Connection refused',
      ],
      stderr,
    );
  });

  test('a nameserver that answers is a way out, also for a name that does not exist', async () => {
    const address = await bridge();
    const resolver = createSocket('udp4').bind(53, address);
    await once(resolver, 'listening');
    resolver.on('message', (question, from) => {
      const answer = Buffer.from(question);
      // An answer, and there is no such name.
      answer.writeUInt16BE(0x8183, 2);
      resolver.send(answer, from.port, from.address);
    });
    const options = ['--rm', `--volume=${bottleInit}:/bottle-init:ro`, `--dns=${address}`];
    const command = [
      '--entrypoint=/bottle-init',
      'debian:bookworm-slim',
      'probe',
      'a=direct:http://canary.invalid/',
    ];
    const { stdout, stderr } = await docker(['run', ...options, ...command]);
    resolver.close();
    assert.deepEqual(said(reports(stdout)), ['answered: a nameserver answered, without an address'], stderr);
  });

  test('the gate’s greeting and the gate’s refusal are told apart, and an allowed host is neither', async () => {
    await using server = await httpServer((_, response) => response.end('somebody else\n'));
    await using gate = await startGate({
      rules: [allow(`allowed.example:${server.port}`)],
      socketMode: 0o666,
    });
    const checks = sealChecks();
    const { code, stdout, stderr } = await runSealed(
      [
        '--relay=127.0.0.1:3128=/run/gate.sock',
        '--',
        '/bottle-init',
        'probe',
        ...probeArguments(checks),
        `allowed=proxy:http://allowed.example:${server.port}/`,
      ],
      [`--volume=${gate.socketPath}:/run/gate.sock`],
    );
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      evaluateSeal(checks, stdout).filter(({ passed }) => !passed),
      [],
    );
    const [allowed] = reports(stdout);
    assert.deepEqual(allowed, { check: 'allowed', outcome: 'answered', detail: 'somebody else' });
    assert.match(stdout, /"canary-refused","outcome":"refused","detail":"HTTP\/1.1 403 /);
  });

  test('without a gate behind the relay the proxy’s attempts fail', async () => {
    const { stdout, stderr } = await runSealed([
      '--relay=127.0.0.1:3128=/run/gate.sock',
      ...['--', '/bottle-init', 'probe', 'a=proxy:http://gate.claude-bottle.internal/'],
    ]);
    assert.equal(reports(stdout)[0]?.outcome, 'failed', stdout + stderr);
  });
});
