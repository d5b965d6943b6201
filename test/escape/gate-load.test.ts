import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import * as v from 'valibot';
import { Cage, onEvery, sharedCage } from './cage.ts';
import { hostSide } from './outside.ts';

const outside = await hostSide();
after(() => outside[Symbol.asyncDispose]());

onEvery('a gate under load', (candidate) => {
  const target = `127.0.0.2:${outside.port}`;
  const cage = sharedCage(() => Cage.start(candidate, [`--allow=${target}`]));
  const ask = async <T>(code: string, schema: v.GenericSchema<unknown, T>) =>
    (await cage()).ask(code, schema);
  const request = `b'GET http://${target}/open HTTP/1.1\\r\\nHost: ${target}\\r\\nConnection: close\\r\\n\\r\\n'`;

  test('200 connections that never finish their head do not stop a request', async (t) => {
    const [slow, answer] = await ask(
      `
slow = [socket.create_connection(('127.0.0.1', 3128), 10) for _ in range(200)]
for one in slow: one.sendall(b'GET http://${target}/ HTTP/1.1\\r\\nX-Slow: ')
for _ in range(3):
    for one in slow: one.sendall(b'a')
result = [len(slow), raw(${request})]`,
      v.strictTuple([v.number(), v.string()]),
    );
    assert.match(answer, /^HTTP\/1\.1 200 /);
    t.diagnostic(`tried: ${slow} slow connections; stopped by: nobody waits for them`);
  });

  test('100,000 connections in batches leave the gate answering, and no descriptor behind', async (t) => {
    const seconds = `
began = time.time(); made = refused = 0
while made + refused < 4000:
    batch = []
    for _ in range(250):
        try: batch.append(socket.create_connection(('127.0.0.1', 3128), 10)); made += 1
        except OSError: refused += 1
    for one in batch:
        try: one.sendall(b'GET / HTTP/1.1\\r\\n')
        except OSError: pass
        one.close()
result = [made, refused]`;
    let made = 0;
    for (let round = 0; round < 25; round += 1) {
      const [more = 0] = await ask(seconds, v.array(v.number()));
      made += more;
    }
    const answer = await ask(`result = raw(${request})`, v.string());
    assert.match(answer, /^HTTP\/1\.1 200 /);
    t.diagnostic(`tried: ${made} connections; stopped by: they are let go`);
    assert.ok(made >= 95_000, String(made));
  });

  test('every request over a kept connection is decided, and the log holds a line for each refusal', async () => {
    const answered = await ask(
      `
total = 0
for _ in range(20):
    with socket.create_connection(('127.0.0.1', 3128), 20) as one, one.makefile('rb') as file:
        for _ in range(50):
            one.sendall(b'GET http://unlisted.test/ HTTP/1.1\\r\\nHost: unlisted.test\\r\\n\\r\\n')
            status = file.readline()
            if not status.startswith(b'HTTP/1.1 403'): break
            length = 0; ends = False
            while (line := file.readline()) != b'\\r\\n':
                if line.lower().startswith(b'content-length:'): length = int(line.split(b':')[1])
                ends = ends or line.lower().startswith(b'connection: close')
            file.read(length); total += 1
            if ends: break
result = total`,
      v.number(),
    );
    assert.ok(answered >= 20);
    const { house, slug } = await cage();
    const log = await house.bottle(['logs', slug, '--gate', '--json'], { captureBytes: 8 << 20 });
    const refused = log.stdout.split('\n').filter((line) => line.includes('"unlisted.test"')).length;
    assert.equal(refused, answered);
  });
});
