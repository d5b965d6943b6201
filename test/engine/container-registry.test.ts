import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { ContainerRegistry, parsePort } from '../../src/engine/container-registry.ts';
import { RegistryImageUnavailable, RegistryNotReady, RegistryNotStarted } from '../../src/engine/errors.ts';
import { fakeEngine } from './fake-engine.ts';

const image = { id: `sha256:${'12'.repeat(32)}`, tags: ['x:1'] } as const;
let listening: Server;
let hangingUp: Server;
let port: number;
let deafPort: number;

before(async () => {
  listening = createServer((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'));
  // What Docker's port proxy does as long as nothing listens in the container.
  hangingUp = createServer((socket) => socket.destroy());
  port = await portOf(listening);
  deafPort = await portOf(hangingUp);
});
after(() => {
  listening.close();
  hangingUp.close();
});

async function portOf(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as { port: number }).port;
}

describe('the port that the engine chose', () => {
  const printed: [string, number | undefined][] = [
    ['127.0.0.1:54321\n', 54321],
    ['[::1]:54321\n', 54321],
    [':::54321\n', 54321],
    ['0.0.0.0:54321\n:::54399\n', 54321],
    ['[::]:54399\n0.0.0.0:54321\n', 54321],
    ['5000/tcp -> 127.0.0.1:54321\n', 54321],
    ['', undefined],
    ['Error: no public port\n', undefined],
    ['127.0.0.1:0\n', undefined],
    ['127.0.0.1:70000\n', undefined],
  ];
  for (const [text, expected] of printed) {
    test(`${JSON.stringify(text)} is ${expected ?? 'none'}`, () => assert.equal(parsePort(text), expected));
  }
});

test('it is run, asked for its port and removed, in that order and on loopback only', async () => {
  await using fake = await fakeEngine(`port\\ *) echo 127.0.0.1:${port} ;;`);
  const engine = await fake.connect();
  let name: string;
  {
    await using registry = await ContainerRegistry.start(engine, { scratch: fake.scratch, image: 'reg:1' });
    name = registry.name;
    assert.equal(registry.port, port);
  }
  const [run = '', ...rest] = await fake.calls();
  assert.match(run, new RegExp(`^run -d --rm --name ${name} .*-p 127\\.0\\.0\\.1::5000 reg:1$`));
  assert.deepEqual(rest, [`port ${name} 5000/tcp`, `rm --force --volumes ${name}`]);
});

test('an image is tagged, pushed and untagged under the port on 127.0.0.1', async () => {
  await using fake = await fakeEngine(`port\\ *) echo 127.0.0.1:${port} ;;`);
  await using registry = await ContainerRegistry.start(await fake.connect(), { scratch: fake.scratch });
  const reference = `127.0.0.1:${port}/claude-bottle:abc`;
  assert.equal(await registry.push(image, 'abc'), reference);
  assert.deepEqual((await fake.calls()).slice(2), [
    `tag ${image.id} ${reference}`,
    `push ${reference}`,
    `image inspect --format {{len .RepoTags}} ${reference}`,
    `rmi --no-prune ${reference}`,
  ]);
});

test('the tag goes when the push fails', async () => {
  await using fake = await fakeEngine(
    `port\\ *) echo 127.0.0.1:${port} ;; push\\ *) echo 'denied: no' >&2; exit 1 ;;`,
  );
  await using registry = await ContainerRegistry.start(await fake.connect(), { scratch: fake.scratch });
  await assert.rejects(registry.push(image, 'abc'), { name: 'PushFailed' });
  assert.equal((await fake.calls()).at(-1), `rmi --no-prune 127.0.0.1:${port}/claude-bottle:abc`);
});

test('a name that has become the last one stays, since Docker would remove the image with it', async () => {
  await using fake = await fakeEngine(`port\\ *) echo 127.0.0.1:${port} ;; image\\ inspect\\ *) echo 1 ;;`);
  await using registry = await ContainerRegistry.start(await fake.connect(), { scratch: fake.scratch });
  await registry.push(image, 'abc');
  assert.ok(!(await fake.calls()).some((call) => call.startsWith('rmi ')));
});

test('an image without a name of its own is not pushed, since it would go with the name it gets', async () => {
  await using fake = await fakeEngine(`port\\ *) echo 127.0.0.1:${port} ;;`);
  await using registry = await ContainerRegistry.start(await fake.connect(), { scratch: fake.scratch });
  await assert.rejects(registry.push({ ...image, tags: [] }, 'abc'), { name: 'PushFailed' });
  assert.ok(!(await fake.calls()).some((call) => /^(tag|rmi) /.test(call)));
});

test('it is pinned by digest, and CLAUDE_BOTTLE_REGISTRY_IMAGE names another', async (context) => {
  const imageUsed = async () => {
    await using fake = await fakeEngine(`port\\ *) echo 127.0.0.1:${port} ;;`);
    await using registry = await ContainerRegistry.start(await fake.connect(), { scratch: fake.scratch });
    assert.ok(registry.port > 0);
    return (await fake.calls())[0]?.split(' ').at(-1);
  };
  const before = process.env.CLAUDE_BOTTLE_REGISTRY_IMAGE;
  context.after(() => {
    if (before === undefined) delete process.env.CLAUDE_BOTTLE_REGISTRY_IMAGE;
    else process.env.CLAUDE_BOTTLE_REGISTRY_IMAGE = before;
  });
  delete process.env.CLAUDE_BOTTLE_REGISTRY_IMAGE;
  assert.equal(
    await imageUsed(),
    'registry@sha256:a3d8aaa63ed8681a604f1dea0aa03f100d5895b6a58ace528858a7b332415373',
  );
  process.env.CLAUDE_BOTTLE_REGISTRY_IMAGE = 'mine:2';
  assert.equal(await imageUsed(), 'mine:2');
});

test('it is removed by force when what uses it throws', async () => {
  await using fake = await fakeEngine(`port\\ *) echo 127.0.0.1:${port} ;;`);
  const engine = await fake.connect();
  await assert.rejects(async () => {
    await using registry = await ContainerRegistry.start(engine, { scratch: fake.scratch });
    throw new Error(`inside ${registry.name}`);
  }, /inside claude-bottle-registry-/);
  assert.match((await fake.calls()).at(-1) ?? '', /^rm --force --volumes claude-bottle-registry-/);
});

test('it is removed by force when it never answers, the failure carries its last words, and nothing is yielded', async () => {
  await using fake = await fakeEngine(
    `port\\ *) echo 127.0.0.1:${deafPort} ;; logs\\ *) echo 'listening'; echo 'panic: no disk' >&2 ;;`,
  );
  const engine = await fake.connect();
  await assert.rejects(
    ContainerRegistry.start(engine, { scratch: fake.scratch, image: 'reg:1', readyMs: 200 }),
    (error: unknown) => {
      assert.ok(error instanceof RegistryNotReady);
      assert.deepEqual(error.fields.log, ['listening', 'panic: no disk']);
      assert.equal(error.fields.port, deafPort);
      assert.equal(error.fields.image, 'reg:1');
      return true;
    },
  );
  assert.match((await fake.calls()).at(-1) ?? '', /^rm --force /);
});

test('it is removed by force when its port is not published', async () => {
  await using fake = await fakeEngine(`port\\ *) echo 'Error: no public port' >&2; exit 1 ;;`);
  const engine = await fake.connect();
  await assert.rejects(ContainerRegistry.start(engine, { scratch: fake.scratch }), (error: unknown) => {
    assert.ok(error instanceof RegistryNotStarted);
    assert.match(error.fields.words ?? '', /no public port/);
    return true;
  });
  assert.match((await fake.calls()).at(-1) ?? '', /^rm --force /);
});

test('interrupted while it starts, it is looked for until it is gone', async () => {
  // The engine makes the container only after its client was killed.
  await using fake = await fakeEngine(
    `run\\ *) exec sleep 60 ;;
     rm\\ *) if [ "$(grep -c '^rm ' $FAKE/calls)" -lt 3 ]; then echo 'Error: No such container: x' >&2; fi ;;`,
  );
  const engine = await fake.connect();
  const stop = new AbortController();
  const started = ContainerRegistry.start(engine, { scratch: fake.scratch, signal: stop.signal });
  while (!(await fake.calls().catch(() => [])).some((call) => call.startsWith('run '))) await tick();
  stop.abort(new Error('stopped'));
  await assert.rejects(started, /stopped/);
  assert.equal((await fake.calls()).filter((call) => call.startsWith('rm ')).length, 3);
});

test('an image that cannot be pulled is told from a container that cannot run', async () => {
  const failing = (has: boolean) =>
    fakeEngine(
      `run\\ *) echo "Unable to find image 'reg:1' locally" >&2; echo 'Error response from daemon: no route' >&2; exit 125 ;;
       image\\ inspect*) ${has ? 'echo sha256:1' : "echo 'Error: No such image: reg:1' >&2; exit 1"} ;;`,
    );
  await using without = await failing(false);
  await assert.rejects(
    ContainerRegistry.start(await without.connect(), { scratch: without.scratch, image: 'reg:1' }),
    (error: unknown) => {
      assert.ok(error instanceof RegistryImageUnavailable);
      assert.equal(error.fields.image, 'reg:1');
      assert.match(error.fields.words ?? '', /no route/);
      return true;
    },
  );
  await using having = await failing(true);
  await assert.rejects(
    ContainerRegistry.start(await having.connect(), { scratch: having.scratch, image: 'reg:1' }),
    { name: 'RegistryNotStarted' },
  );
});

test('two at once have names of their own, each noted for whoever comes after a kill', async () => {
  await using fake = await fakeEngine(`port\\ *) echo 127.0.0.1:${port} ;;`);
  const engine = await fake.connect();
  const start = () => ContainerRegistry.start(engine, { scratch: fake.scratch });
  await using first = await start();
  await using second = await start();
  assert.notEqual(first.name, second.name);
  for (const { name } of [first, second]) assert.match(name, /^claude-bottle-registry-[0-9a-f]{12}$/);
  const journal = (await readFile(fake.scratch.file('leftovers.jsonl'), 'utf8')).trim().split('\n');
  assert.deepEqual(
    journal.map((line) => (JSON.parse(line) as { kind: string; name: string }).name),
    [first.name, second.name],
  );
});

function tick(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}
