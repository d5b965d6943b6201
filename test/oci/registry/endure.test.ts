import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import type { Blob } from '../../../src/oci/image.ts';
import { EmbeddedRegistry } from '../../../src/oci/registry/embedded-registry.ts';
import { ask, basic, listens, raw, silent } from './ask.ts';
import { blobOf, flatImageOf, sha256 } from './flat-image-of.ts';

const name = { repository: 'claude-bottle', tag: 't1' };
const bytes = randomBytes(6 << 20);

/** A blob that counts its readers and what they have read. */
function watched(bytes: Buffer): Blob & { open: number; read: Blob['read']; handedOut: number } {
  const inner = blobOf(bytes);
  const blob = {
    ...inner,
    open: 0,
    handedOut: 0,
    async *read(start: number, end: number) {
      blob.open += 1;
      try {
        for await (const chunk of inner.read(start, end)) {
          blob.handedOut += chunk.length;
          yield chunk;
        }
      } finally {
        blob.open -= 1;
      }
    },
  };
  return blob;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

function request(registry: EmbeddedRegistry, path: string, extra = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${registry.host}\r\nAuthorization: ${basic(registry.reader)}\r\n${extra}\r\n`;
}

describe('many clients at once', () => {
  test('32 whole downloads and random ranges in parallel are all right', async () => {
    await using registry = await EmbeddedRegistry.start(name);
    let sent = 0;
    const image = flatImageOf(blobOf(bytes));
    registry.publish(image, { onBytes: (n) => (sent += n) });
    const path = `/v2/claude-bottle/blobs/${image.layer.digest}`;
    const wholes = Array.from({ length: 32 }, async () => {
      const { body } = await ask(registry.host, path, { as: registry.reader });
      assert.equal(sha256(body), image.layer.digest);
    });
    const ranges = fc.sample(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 200_000 })), 64);
    const parts = ranges.map(async ([start, length]) => {
      const end = Math.min(start + length, bytes.length);
      const headers = { range: `bytes=${start}-${end - 1}` };
      const { status, body } = await ask(registry.host, path, { as: registry.reader, headers });
      assert.equal(status, 206);
      assert.ok(body.equals(bytes.subarray(start, end)));
      return body.length;
    });
    const partial = (await Promise.all(parts)).reduce((sum, length) => sum + length, 0);
    await Promise.all(wholes);
    assert.equal(sent, 32 * bytes.length + partial);
  });

  test('requests sent ahead on one connection are answered in order', async () => {
    await using registry = await EmbeddedRegistry.start(name);
    const image = flatImageOf(blobOf(Buffer.from('layer')));
    registry.publish(image);
    const path = `/v2/claude-bottle/blobs/${image.layer.digest}`;
    const ahead = Array.from({ length: 20 }, (_, at) =>
      request(registry, path, `Range: bytes=${at % 5}-${at % 5}\r\n`),
    );
    const answer = await raw(
      registry.port,
      `${ahead.join('')}${request(registry, '/v2/', 'Connection: close\r\n')}`,
    );
    const bodies = [...answer.matchAll(/\r\n\r\n([layer])HTTP/g)].map(([, letter]) => letter);
    assert.equal(bodies.join(''), 'layer'.repeat(4));
  });
});

describe('bad clients', () => {
  test('one that does not read holds no more than its buffers, and others are served meanwhile', async () => {
    await using registry = await EmbeddedRegistry.start(name);
    const big = watched(randomBytes(64 << 20));
    const image = flatImageOf(big);
    registry.publish(image);
    const path = `/v2/claude-bottle/blobs/${image.layer.digest}`;
    const slow = await silent(registry.port, request(registry, path));
    await until(() => big.open === 1);
    let before = -1;
    while (before !== big.handedOut) {
      before = big.handedOut;
      await sleep(100);
    }
    assert.ok(big.handedOut < 32 << 20, `${big.handedOut} bytes were read for a client that reads none`);
    const other = await ask(registry.host, path, { as: registry.reader, headers: { range: 'bytes=0-99' } });
    assert.equal(other.status, 206);

    // It wakes up, and gets every byte it was promised.
    const chunks: Buffer[] = [];
    slow.on('data', (chunk: Buffer) => chunks.push(chunk));
    slow.resume();
    await until(() => big.open === 0);
    slow.end();
    await once(slow, 'close');
    const all = Buffer.concat(chunks);
    assert.equal(sha256(all.subarray(all.indexOf('\r\n\r\n') + 4)), big.digest);
  });

  test('those that hang up in the middle leave no reader open', async () => {
    await using registry = await EmbeddedRegistry.start(name);
    const blob = watched(bytes);
    const image = flatImageOf(blob);
    registry.publish(image);
    const path = `/v2/claude-bottle/blobs/${image.layer.digest}`;
    const clients = await Promise.all(
      Array.from({ length: 20 }, () => silent(registry.port, request(registry, path))),
    );
    await until(() => blob.open === 20);
    for (const client of clients) client.resetAndDestroy();
    await until(() => blob.open === 0);
    assert.equal(sha256((await ask(registry.host, path, { as: registry.reader })).body), blob.digest);
    assert.equal(registry.failure, undefined);
  });

  test('a blob that cannot be read is a 500, one that breaks off cuts the connection; both are remembered', async () => {
    for (const [good, outcome] of [
      [0, 500],
      [3, 'cut'],
    ] as const) {
      await using registry = await EmbeddedRegistry.start(name);
      const broken = new Error('the disk is on fire');
      const blob: Blob = {
        ...blobOf(bytes),
        async *read() {
          for (let at = 0; at < good; at++) yield Buffer.alloc(1000);
          throw broken;
        },
      };
      registry.publish(flatImageOf(blob));
      const asked = ask(registry.host, `/v2/claude-bottle/blobs/${blob.digest}`, { as: registry.reader });
      if (outcome === 500) {
        const { status, code, body } = await asked;
        assert.deepEqual([status, code], [500, 'UNKNOWN']);
        assert.doesNotMatch(body.toString(), /fire/);
      } else await assert.rejects(asked);
      assert.equal(registry.failure, broken);
    }
  });

  test('a blob that ends early is cut, not left hanging', async () => {
    await using registry = await EmbeddedRegistry.start(name);
    const blob: Blob = { ...blobOf(bytes), read: (start) => blobOf(bytes).read(start, start + 1000) };
    registry.publish(flatImageOf(blob));
    await assert.rejects(
      ask(registry.host, `/v2/claude-bottle/blobs/${blob.digest}`, { as: registry.reader }),
    );
  });
});

describe('after disposal nothing is left on the port', () => {
  test('when nothing happened', async () => {
    const registry = await EmbeddedRegistry.start(name);
    assert.equal(await listens(registry.port), true);
    await registry[Symbol.asyncDispose]();
    assert.equal(await listens(registry.port), false);
  });

  test('when its user threw', async () => {
    let port = 0;
    await assert.rejects(async () => {
      await using registry = await EmbeddedRegistry.start(name);
      port = registry.port;
      throw new Error('outside');
    }, /outside/);
    assert.equal(await listens(port), false);
  });

  test('with idle, unfinished and running connections, which end at once, and blobs closed', async () => {
    const registry = await EmbeddedRegistry.start(name);
    const blob = watched(bytes);
    registry.publish(flatImageOf(blob));
    const path = `/v2/claude-bottle/blobs/${blob.digest}`;
    const clients = await Promise.all([
      silent(registry.port, ''),
      silent(registry.port, 'GET /v2/ HT'),
      silent(registry.port, request(registry, '/v2/')),
      silent(registry.port, request(registry, path)),
      silent(registry.port, request(registry, path)),
    ]);
    await until(() => blob.open === 2);
    const ended = clients.map((client) => {
      client.on('error', () => undefined);
      client.resume();
      return once(client, 'close');
    });
    await registry[Symbol.asyncDispose]();
    assert.equal(blob.open, 0);
    assert.equal(await listens(registry.port), false);
    await Promise.all(ended);
  });

  test('twice is as good as once', async () => {
    const registry = await EmbeddedRegistry.start(name);
    await registry[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    assert.equal(await listens(registry.port), false);
  });
});
