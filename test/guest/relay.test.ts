import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { before, describe, test } from 'node:test';
import fc from 'fast-check';
import { run } from '../../src/process/run.ts';
import { bottleInit, build, built, docker, containerName, sealed, temporary, until } from './guest.ts';
import { Stage } from './relay-stage.ts';

before(build);

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Answers with the digest of everything, after the client has ended its direction. */
function answerDigest(socket: Socket): void {
  void buffer(socket).then(
    (bytes) => socket.end(digest(bytes)),
    () => undefined,
  );
}

async function askDigest(stage: Stage, bytes: Buffer): Promise<string> {
  const client = await stage.connect();
  client.end(bytes);
  return (await buffer(client)).toString();
}

/** A stream of which every 64 KiB differ, so that a piece lost, doubled or swapped shows. */
function* chunks(total: number): Generator<Buffer> {
  const seed = randomBytes(64 * 1024);
  for (let sent = 0, count = 0; sent < total; sent += seed.length, count += 1) {
    const chunk = Buffer.from(seed);
    chunk.writeUInt32LE(count);
    yield chunk.subarray(0, total - sent);
  }
}

/** Writes it all at the reader's pace. */
async function pour(socket: Socket, total: number): Promise<string> {
  const hash = createHash('sha256');
  for (const chunk of chunks(total)) {
    hash.update(chunk);
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}

/** Waits until the number has stayed the same for a while. */
async function settled(read: () => number): Promise<number> {
  let [last, same] = [read(), 0];
  return until(() => {
    const now = read();
    same = now === last ? same + 1 : 0;
    last = now;
    return same >= 20 ? now : undefined;
  });
}

/** Settles when the peer has ended its direction, or the connection. */
async function over(socket: Socket): Promise<void> {
  if (socket.closed || socket.readableEnded) return;
  await new Promise((resolve) => socket.once('end', resolve).once('close', resolve));
}

const kinds = [
  { name: 'as shipped', command: () => [bottleInit], streams: 2000, megabytes: 100 },
  { name: 'with sanitizers', command: () => [built.sanitized], streams: 300, megabytes: 20 },
];

for (const { name, command, streams, megabytes } of kinds) {
  describe(`the relay of bottle-init, ${name}`, { timeout: 60_000 }, () => {
    test(`${streams} connections at once, past a short backlog, each half-closed and answered`, async () => {
      await using stage = await Stage.start(...command());
      await stage.serve(answerDigest, 1);
      const messages = Array.from({ length: streams }, (_, i) => Buffer.from(`${i} `.repeat(1 + (i % 500))));
      const clients = await Promise.all(messages.map(() => stage.connect()));
      const answers = await Promise.all(
        clients.map((client, i) => {
          client.end(messages[i]!);
          return buffer(client);
        }),
      );
      assert.deepEqual(
        answers.map(String),
        messages.map((message) => digest(message)),
      );
    });

    test('the server’s direction may end first', async () => {
      await using stage = await Stage.start(...command());
      const received = new Promise<Buffer>((resolve) => {
        void stage.serve((socket) => {
          socket.end('answer');
          void buffer(socket).then(resolve);
        });
      });
      const client = await stage.connect();
      assert.equal(String(await buffer(client)), 'answer');
      client.write('said after ');
      client.end('the answer');
      assert.equal(String(await received), 'said after the answer');
    });

    test(`${megabytes} MB to a reader that stops: the writer stops too, nothing is held, nothing is lost`, async () => {
      await using stage = await Stage.start(...command());
      const total = megabytes * 1024 * 1024;
      const accepted = new Promise<Socket>((resolve) => void stage.serve(resolve));
      const client = await stage.connect();
      const server = await accepted;
      const sleeping = await stage.residentKilobytes();
      for (const [writer, reader] of [
        [server, client],
        [client, server],
      ] as const) {
        const poured = pour(writer, total);
        const taken = await settled(() => writer.bytesWritten - writer.writableLength);
        assert.ok(taken < total * 0.8, `${taken} of ${total} bytes were taken from the writer`);
        const holding = await stage.residentKilobytes();
        assert.ok(holding - sleeping < 1024, `grew from ${sleeping} to ${holding} kB`);
        const hash = createHash('sha256');
        for await (const chunk of reader) hash.update(chunk as Buffer);
        assert.equal(hash.digest('hex'), await poured);
      }
    });

    test('without a server the client is hung up on, and with one again it is served', async () => {
      await using stage = await Stage.start(...command());
      const refused = async () => {
        const client = await stage.connect().catch(() => undefined);
        if (client !== undefined) await over(client.resume());
      };
      await refused();
      await stage.serve(answerDigest);
      assert.equal(await askDigest(stage, Buffer.from('one')), digest(Buffer.from('one')));
      await stage.clear();
      await rm(stage.socket, { force: true });
      await refused();
      await stage.serve(answerDigest);
      assert.equal(await askDigest(stage, Buffer.from('two')), digest(Buffer.from('two')));
    });

    test('a server that goes ends its clients, a client that breaks off ends its server', async () => {
      await using stage = await Stage.start(...command());
      const servers: Socket[] = [];
      await stage.serve((socket) => servers.push(socket.resume()));
      const first = (await stage.connect()).resume();
      (await until(() => servers[0])).destroy();
      await once(first, 'end');
      const second = await stage.connect();
      const server = await until(() => servers[1]);
      const gone = once(server, 'end');
      second.resetAndDestroy();
      await gone;
    });

    test('an answer to a client that still sends arrives whole', async () => {
      await using stage = await Stage.start(...command());
      const answer = randomBytes(300_000);
      await stage.serve((socket) =>
        socket.once('data', () => socket.end(answer, () => socket.destroy())).resume(),
      );
      const client = await stage.connect();
      client.write(randomBytes(200_000));
      const parts: Buffer[] = [];
      client.on('data', (part: Buffer) => parts.push(part));
      await over(client);
      assert.equal(digest(Buffer.concat(parts)), digest(answer));
    });

    test('any order of writes and ends, both ways, gives both sides what the other sent', async () => {
      await using stage = await Stage.start(...command());
      const step = fc.tuple(fc.boolean(), fc.nat(200_000), fc.boolean());
      let next: (socket: Socket) => void = () => undefined;
      await stage.serve((socket) => next(socket));
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
          const accepted = new Promise<Socket>((resolve) => (next = resolve));
          const ends = [await stage.connect(), await accepted] as const;
          const sent = [createHash('sha256'), createHash('sha256')] as const;
          const received = ends.map((end) => buffer(end));
          for (const [isServer, size, waits] of steps) {
            const bytes = randomBytes(size);
            sent[Number(isServer) as 0 | 1].update(bytes);
            const flushed = new Promise((resolve) => ends[Number(isServer) as 0 | 1].write(bytes, resolve));
            if (waits) await flushed;
          }
          const serverFirst = steps.length % 2 === 0;
          ends[serverFirst ? 1 : 0].end();
          const [byFirst] = [await received[serverFirst ? 0 : 1]!];
          ends[serverFirst ? 0 : 1].end();
          const bySecond = await received[serverFirst ? 1 : 0]!;
          assert.equal(digest(byFirst), sent[serverFirst ? 1 : 0].digest('hex'));
          assert.equal(digest(bySecond), sent[serverFirst ? 0 : 1].digest('hex'));
        }),
        { numRuns: 40 },
      );
    });
  });
}

describe('the relay of bottle-init', { timeout: 60_000 }, () => {
  test('more connections than descriptors wait their turn, and all are answered', async () => {
    const limited = ['prlimit', '--nofile=128:128', bottleInit];
    await using stage = await Stage.start(...limited);
    await stage.serve(answerDigest);
    const idle = await Promise.all(Array.from({ length: 20 }, () => stage.connect()));
    const asked = Array.from({ length: 400 }, (_, i) => askDigest(stage, Buffer.from(String(i))));
    assert.deepEqual(
      await Promise.all(asked),
      Array.from({ length: 400 }, (_, i) => digest(Buffer.from(String(i)))),
    );
    for (const socket of idle) socket.destroy();
  });

  test('valgrind finds no error, and no descriptor of a connection is left', async () => {
    await using directory = await temporary();
    const log = `${directory.path}/valgrind.log`;
    const valgrind = [
      'valgrind',
      '--error-exitcode=99',
      '--track-fds=yes',
      '--trace-children=no',
      `--log-file=${log}.%p`,
    ];
    const stage = await Stage.start(...valgrind, built.hosted);
    {
      await using running = stage;
      await running.serve(answerDigest, 2);
      const messages = Array.from({ length: 100 }, (_, i) => Buffer.alloc(i * 2000, i));
      const answers = await Promise.all(messages.map((message) => askDigest(running, message)));
      assert.deepEqual(answers, messages.map(digest));
      const broken = await running.connect();
      broken.write('x');
      broken.resetAndDestroy();
      // Everything before it has been seen to when this one is answered.
      assert.equal(await askDigest(running, Buffer.from('last')), digest(Buffer.from('last')));
    }
    const { stdout: said } = await run('cat', [`${log}.${stage.init.child.pid}`]);
    assert.match(said, /ERROR SUMMARY: 0 errors/, said);
    // The listener is one; the last connection may have been open still.
    assert.ok((said.match(/Open AF_INET socket/g)?.length ?? 0) <= 2, said);
    assert.ok((said.match(/Open AF_UNIX socket/g)?.length ?? 0) <= 1, said);
    assert.match(said, /Open AF_INET socket \d+: 127\.0\.0\.1:\d+ <-> unbound/);
  });

  test('IPv6 and several relays, from inside a container without a network', async () => {
    await using stage = await Stage.start(bottleInit);
    await stage.serve((socket) => {
      socket.once('data', (bytes: Buffer) => socket.end(`got ${bytes.toString()}`)).resume();
    });
    const name = containerName();
    const script =
      'use IO::Socket::IP; for (["127.0.0.1", 3128], ["::1", 8080]) {' +
      ' my $s = IO::Socket::IP->new(PeerHost => $_->[0], PeerPort => $_->[1]) or die "$@";' +
      ' syswrite $s, "request $_->[1]"; shutdown $s, 1; print <$s>, "\n" }' +
      ' print IO::Socket::IP->new(PeerHost => "1.1.1.1", PeerPort => 80) ? "open" : "sealed", "\n"';
    const { code, stdout, stderr } = await docker(
      sealed(
        name,
        [`--volume=${stage.socket}:/run/gate.sock`, '--sysctl=net.ipv6.conf.all.disable_ipv6=0', '--user=0'],
        [
          '--relay=127.0.0.1:3128=/run/gate.sock',
          '--relay=[::1]:8080=/run/gate.sock',
          '--',
          'perl',
          '-e',
          script,
        ],
      ),
    );
    assert.deepEqual([code, stdout], [0, 'got request 3128\ngot request 8080\nsealed\n'], stderr);
  });

  test('a loopback interface that is down is brought up', async () => {
    await using stage = await Stage.start('unshare', '--net', bottleInit);
    const state = [
      '--target',
      String(stage.init.child.pid),
      '--net',
      'cat',
      '/proc/net/if_inet6',
      '/proc/net/dev',
    ];
    const { stdout } = await run('nsenter', [...state]);
    assert.match(stdout, /00000000000000000000000000000001 .* lo\n/);
  });

  test('a port that is taken ends it with 125', async () => {
    await using stage = await Stage.start(bottleInit);
    const relay = `--relay=127.0.0.1:${stage.port}=/nowhere`;
    const { code, stderr } = await run(bottleInit, [relay, '--', 'true']);
    assert.deepEqual(
      [code, stderr],
      [125, 'bottle-init: cannot listen for /nowhere: Address already in use\n'],
    );
  });
});
