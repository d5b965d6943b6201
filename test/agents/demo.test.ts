import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { dirname } from 'node:path';
import { chmod } from 'node:fs/promises';
import { run } from '../../src/process/run.ts';
import { allow, httpServer, startGate } from '../gate/world.ts';
import { client } from '../tools/clients.ts';
import { exampleImage, type TestImage } from './example-image.ts';

/** What bottle-init does in a bottle: hands 127.0.0.1:3128 on to the gate's socket. */
const relay = `require('node:net').createServer((from) => {
  const to = require('node:net').connect('/run/gate/gate.sock');
  from.pipe(to).pipe(from);
  for (const end of [from, to]) end.on('error', () => { from.destroy(); to.destroy(); });
}).listen(3128, '127.0.0.1')`;

describe('the demo agent', () => {
  let image: TestImage;
  before(async () => {
    image = await exampleImage('demo');
  });
  after(() => image[Symbol.asyncDispose]());

  const docker = (args: readonly string[], command: string) =>
    run(client('docker'), ['run', '--rm', ...args, image.name, 'sh', '-c', command]);
  const work = 'git init -q . && node /home/agent/agent.js; code=$?; git log --format=%s; exit $code';

  test('behind the gate: it commits, reads its refusal, uses what is allowed, and finds no way out', async () => {
    await using server = await httpServer((_, response) => response.end('hello'));
    await using world = await startGate({ rules: [allow(`allowed.test:${server.port}`)], socketMode: 0o666 });
    await chmod(dirname(world.socketPath), 0o755);
    const { code, stdout, stderr } = await docker(
      [
        '--network=none',
        `--volume=${dirname(world.socketPath)}:/run/gate:ro`,
        `--env=DEMO_ALLOWED_URL=http://allowed.test:${server.port}/`,
        `--env=RELAY=${relay}`,
      ],
      // Its port is open once it can be connected to.
      `node -e "$RELAY" & until node -e "require('node:net').connect(3128, '127.0.0.1').on('connect', () => process.exit())"; do :; done 2>/dev/null; ${work}`,
    );
    assert.equal(code, 0, stdout + stderr);
    assert.match(
      stdout,
      /^ok {3}edit and commit HELLO\.md: [0-9a-f]+ Say that the demo agent was here \(demo\)$/m,
    );
    assert.match(
      stdout,
      /^ok {3}http:\/\/blocked\.example\S*, which no rule allows: refused by the gate \(no-rule\)$/m,
    );
    assert.match(stdout, /^ {5}\| .*blocked\.example/m);
    assert.match(stdout, /^ok {3}http:\/\/allowed\.test:\d+\/, which is allowed: it answered 200$/m);
    assert.match(stdout, /^ok {3}the host's loopback through the gate: refused by the gate/m);
    assert.equal(stdout.match(/^ok {3}/gm)?.length, 10);
    assert.match(stdout, /^Say that the demo agent was here$/m);
    assert.equal(server.connections(), 1);
    const decisions = (await world.log()).map(({ host, decision }) => `${host} ${decision}`);
    assert.deepEqual(decisions, ['blocked.example deny', 'allowed.test allow', '127.0.0.1 deny']);
  });

  test('without an allowed address it says that this is left out', async () => {
    const { stdout } = await docker(['--network=none'], work);
    assert.match(stdout, /^-- {3}an allowed host: left out, since DEMO_ALLOWED_URL names none$/m);
  });

  test('where there is no gate, or a network, it does not say that all is well', async () => {
    for (const network of ['none', 'bridge']) {
      const { code, stdout } = await docker([`--network=${network}`], work);
      assert.equal(code, 1, stdout);
      assert.match(stdout, /^BAD {2}http:\/\/blocked\.example/m);
      assert.equal(
        /^BAD {2}TCP to 1\.1\.1\.1:443: it connected$/m.test(stdout),
        network === 'bridge',
        stdout,
      );
    }
  });
});
