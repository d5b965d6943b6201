import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { FeedFailed } from '../../../src/engine/errors.ts';
import type { FeedContext } from '../../../src/engine/feed/feeder.ts';
import { type Fallback, runFeeders } from '../../../src/engine/feed/run-feeders.ts';
import { LayerStore } from '../../../src/oci/layer-store.ts';
import { saveImage } from '../../../src/engine/image.ts';
import { EmbeddedRegistry } from '../../../src/oci/registry/embedded-registry.ts';
import { Interrupted } from '../../../src/process/errors.ts';
import { tarOf } from '../../oci/tar-builder.ts';
import { type FakeEngine, fakeEngine } from '../fake-engine.ts';

const layer = `sha256:${'1'.repeat(64)}` as const;

async function context(
  fake: FakeEngine,
  registry: EmbeddedRegistry,
  signal?: AbortSignal,
): Promise<FeedContext> {
  const config = { architecture: 'amd64', os: 'linux', config: {} };
  return {
    engine: await fake.connect(),
    image: {
      id: `sha256:${'2'.repeat(64)}`,
      reference: 'test:1',
      architecture: 'amd64',
      os: 'linux',
      layers: [layer],
      config,
      tags: ['test:1'],
      size: 1,
    },
    store: new LayerStore(join(fake.directory, 'layers')),
    transient: new LayerStore(join(fake.directory, 'exported')),
    scratch: fake.scratch,
    registry,
    ...(signal === undefined ? {} : { signal }),
  };
}

const start = () => EmbeddedRegistry.start({ repository: 'claude-bottle', tag: 'x' });

test('a feeder that fails gives way to the next, which is told with its reason', async () => {
  await using registry = await start();
  await using fake = await fakeEngine(
    `save\\ *) echo 'Error: blob not found' >&2; exit 1 ;;
     export\\ *) cat $FAKE/tree.tar ;;`,
  );
  await writeFile(join(fake.directory, 'tree.tar'), tarOf([{ path: 'a', data: Buffer.from('a') }]));
  const fallbacks: Fallback[] = [];
  const { image, feeder } = await runFeeders(
    ['known', 'save', 'export'],
    await context(fake, registry),
    (one) => fallbacks.push(one),
  );
  assert.equal(feeder, 'export');
  assert.deepEqual(image.dropPaths, ['.dockerenv']);
  assert.deepEqual(
    fallbacks.map(({ from, to, error }) => [from, to, (error as Error).name]),
    [
      ['known', 'save', 'LayerMissing'],
      ['save', 'export', 'EngineCommandFailed'],
    ],
  );
  const calls = await fake.calls();
  const name = /--name=(\S+)/.exec(calls.find((call) => call.startsWith('create ')) ?? '')?.[1] ?? '';
  assert.match(name, /^claude-bottle-export-/);
  assert.equal(calls.at(-1), `rm --force --volumes ${name}`);
  assert.ok(!calls.some((call) => /^(start|run) /.test(call)), 'nothing of the image is run');
});

test('what a child wrote is read though it has long ended', async () => {
  await using fake = await fakeEngine(`save\\ *) echo whole ;;`);
  const transfer = await saveImage(await fake.connect(), 'test:1');
  await using open = transfer;
  // Time for it to end, and for Node to notice.
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(await text(open.bytes), 'whole\n');
  await open.finish();
});

test('when none delivers, the failure tells what each one said', async () => {
  await using registry = await start();
  await using fake = await fakeEngine(
    `save\\ *) echo 'Error: blob not found' >&2; exit 1 ;;
     push\\ *) echo 'Error: connection refused' >&2; exit 1 ;;
     create\\ *) echo 'Error: no space left on device' >&2; exit 1 ;;`,
  );
  const feeding = runFeeders(['push', 'save', 'export'], await context(fake, registry));
  await assert.rejects(feeding, (error: unknown) => {
    assert.ok(error instanceof FeedFailed);
    assert.deepEqual(error.fields, {
      reference: 'test:1',
      attempts: [
        { feeder: 'push', reason: 'Error: connection refused' },
        { feeder: 'save', reason: 'Error: blob not found' },
        { feeder: 'export', reason: 'Error: no space left on device' },
      ],
    });
    return true;
  });
  const calls = await fake.calls();
  const untagged = calls.filter((call) => call.startsWith('rmi '));
  assert.deepEqual(untagged, [`rmi --no-prune ${registry.reference}`], 'the name for the push is taken away');
  assert.ok(!calls.some((call) => /^rmi .*sha256/.test(call)), 'never by id');
});

test('the password of a push is neither in the arguments nor left in a file', async () => {
  await using registry = await start();
  await using fake = await fakeEngine(
    `push\\ *) cp "$DOCKER_CONFIG/config.json" $FAKE/seen; ls -l "$DOCKER_CONFIG" >$FAKE/mode; exit 1 ;;`,
  );
  const { scratch } = fake;
  await assert.rejects(runFeeders(['push'], await context(fake, registry)), { name: 'PushFailed' });
  const seen = JSON.parse(await readFile(join(fake.directory, 'seen'), 'utf8')) as {
    auths: Record<string, { auth: string }>;
  };
  const auth = Buffer.from(seen.auths[registry.host]?.auth ?? '', 'base64').toString();
  const [, password = ''] = auth.split(':');
  assert.ok(password.length >= 32);
  assert.match(await readFile(join(fake.directory, 'mode'), 'utf8'), /^-rw------- /m);
  assert.ok(!(await fake.calls()).join('\n').includes(password));
  assert.deepEqual((await readdir(scratch.path)).sort(), ['leftovers.jsonl', 'owner.json']);
});

test('an interruption is no reason to try another way', async () => {
  await using registry = await start();
  await using fake = await fakeEngine(`save\\ *) exec sleep 60 ;;`);
  const stop = new AbortController();
  const feeding = runFeeders(['save', 'export'], await context(fake, registry, stop.signal), () =>
    assert.fail('fell back'),
  );
  setTimeout(() => stop.abort(new Interrupted({ signal: 'SIGINT' })), 100);
  await assert.rejects(feeding, { name: 'Interrupted' });
  assert.ok(!(await fake.calls()).some((call) => call.startsWith('create ')));
});

test('an engine that is gone ends it at once', async () => {
  await using registry = await start();
  await using fake = await fakeEngine(
    `save\\ *) echo 'Cannot connect to the Docker daemon at x.' >&2; exit 1 ;;`,
  );
  await assert.rejects(runFeeders(['save', 'export'], await context(fake, registry)), {
    name: 'EngineUnreachable',
  });
});

test('an engine that dies in the middle is told by its own words, not by the stream that was cut', async () => {
  await using registry = await start();
  await using fake = await fakeEngine(
    `save\\ *) head -c 700 $FAKE/tree.tar; echo 'Error: disk gone' >&2; exit 1 ;;
     export\\ *) head -c 700 $FAKE/tree.tar; echo 'Error: driver gone' >&2; exit 1 ;;`,
  );
  await writeFile(join(fake.directory, 'tree.tar'), tarOf([{ path: 'a', data: Buffer.alloc(5000, 'a') }]));
  await assert.rejects(runFeeders(['save', 'export'], await context(fake, registry)), (error: unknown) => {
    assert.ok(error instanceof FeedFailed);
    assert.deepEqual(
      error.fields.attempts.map(({ reason }) => reason),
      ['Error: disk gone', 'Error: driver gone'],
    );
    return true;
  });
});
