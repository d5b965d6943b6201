import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import * as v from 'valibot';
import { allStopped, Cage, onEvery, sharedCage } from './cage.ts';
import { gateAttempts } from './gate-attempts.ts';
import { networkAttempts } from './network-attempts.ts';
import { hostSide } from './outside.ts';

const outside = await hostSide();
after(() => outside[Symbol.asyncDispose]());

onEvery('ways out', (candidate) => {
  for (const user of ['agent', 'root'] as const) {
    describe(`as ${user}`, () => {
      const cage = sharedCage(() => Cage.start(candidate, [`--user=${user}`]));
      allStopped(candidate, networkAttempts(outside, candidate.facts), cage, user);

      test('the host’s side of the sockets is as it was', async () => {
        const { mounted } = (await cage()).places;
        // A backend may have files of its own beside them.
        const sockets = (await readdir(mounted)).filter((name) => name.endsWith('.sock'));
        assert.deepEqual(sockets.sort(), ['gate.sock', 'variables.sock']);
        for (const name of sockets) {
          const { mode, uid, mtimeMs } = await stat(join(mounted, name));
          assert.equal(mode & 0o777, 0o666, name);
          assert.equal(uid, process.getuid?.(), name);
          assert.ok(mtimeMs > 0, name);
        }
      });
    });
  }
});

onEvery('the gate’s decisions', (candidate) => {
  const { port } = outside;
  const allowed = [`127.0.0.2:${port}`, `localhost:${port}`, 'tls.test:443'];
  const cage = sharedCage(() =>
    Cage.start(
      candidate,
      allowed.map((one) => `--allow=${one}`),
    ),
  );
  allStopped(candidate, gateAttempts(port), cage);

  test('what a rule allows is answered, so that the refusals above mean something', async () => {
    const code = `result = through_gate('GET http://127.0.0.2:${port}/open HTTP/1.1\\r\\nHost: 127.0.0.2:${port}\\r\\nConnection: close\\r\\n\\r\\n')`;
    assert.match(await (await cage()).ask(code, v.string()), /path=\/open/);
  });

  test('the six checks of the launch hold for the agent as it runs', async (t) => {
    const get = (url: string) =>
      `raw('GET ${url} HTTP/1.1\\r\\nHost: ${new URL(url).host}\\r\\nConnection: close\\r\\n\\r\\n')`;
    const checks = `
def failed(work):
    try: work()
    except OSError as error: return type(error).__name__
    raise AssertionError('answered')
result = [${get('http://gate.claude-bottle.internal/')}, ${get('http://canary-x1.invalid/')},
    failed(lambda: socket.create_connection(('canary-x1.invalid', 80), 3)),
    failed(lambda: tcp('1.1.1.1', 443)), failed(lambda: udp('1.1.1.1', 53)), failed(lambda: tcp('169.254.169.254', 80))]`;
    const [own = '', canary = '', ...failures] = await (await cage()).ask(checks, v.array(v.string()));
    t.diagnostic(`tried: the six checks of the launch; stopped by: ${failures.join(', ')}`);
    assert.match(own, /^HTTP\/1\.1 200 /);
    assert.match(canary, /^HTTP\/1\.1 403 /);
    assert.match(canary, /x-claude-bottle-reason: \S/i);
    assert.equal(failures.length, 4);
  });

  test('curl and git are told what was refused, by which rule, and how the user allows it', async () => {
    const code = `result = subprocess.run(['curl', '-sS', '-i', 'http://unlisted.test/'], capture_output=True, text=True).stdout`;
    const said = await (await cage()).ask(code, v.string());
    assert.match(said, /^HTTP\/1\.1 403 /);
    assert.match(said, /x-claude-bottle-reason: /i);
    assert.match(said, /policy/);
    assert.match(said, /claude-bottle allow/);
  });
});
