import assert from 'node:assert/strict';
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildImage } from '../../src/engine/build.ts';
import { ContainerRegistry } from '../../src/engine/container-registry.ts';
import { RegistryImageUnavailable, RegistryNotReady } from '../../src/engine/errors.ts';
import { type InspectedImage, inspectImage } from '../../src/engine/image.ts';
import { run } from '../../src/process/run.ts';
import { registryConfiguration } from '../faults/registry-image.ts';
import { listens } from '../oci/registry/ask.ts';
import { client } from '../tools/clients.ts';
import { type Bench, bench } from './engines.ts';

describe('a registry in a container', () => {
  let place: Bench;
  let registryImage: string;
  let slowImage: string;
  let payload: InspectedImage;

  before(async () => {
    place = await bench('docker');
    const { engine, scratch } = place;
    const found = await run('sh', ['-c', 'command -v docker-registry']);
    assert.equal(found.code, 0, "Debian's docker-registry is not here: apt-get install docker-registry");
    const context = await place.context({ 'config.yml': registryConfiguration });
    await copyFile(found.stdout.trim(), join(context, 'docker-registry'));
    // Debian's registry is a dynamic program, but needs nothing that its base system has not.
    const make = async (name: string, command: string) => {
      const directory = await place.context({
        Dockerfile: `FROM debian:bookworm-slim\nCOPY docker-registry /usr/bin/\nCOPY config.yml /etc/\nCMD ${command}\n`,
        'config.yml': registryConfiguration,
      });
      await copyFile(join(context, 'docker-registry'), join(directory, 'docker-registry'));
      const tag = place.tag(name);
      await buildImage(engine, { context: directory, tag, scratch });
      return tag;
    };
    registryImage = await make('registry', '["/usr/bin/docker-registry", "serve", "/etc/config.yml"]');
    slowImage = await make('slow', '["sh", "-c", "sleep 1; exec docker-registry serve /etc/config.yml"]');
    const files = await place.context({ Dockerfile: 'FROM scratch\nCOPY file /file\n', file: 'payload' });
    const id = await buildImage(engine, { context: files, tag: place.tag('payload'), scratch });
    payload = await inspectImage(engine, id);
  });
  after(() => place[Symbol.asyncDispose]());

  const running = async (name: string) =>
    (await place.engine.run(['ps', '-aq', '--filter', `name=${name}`])).stdout.trim();

  test('takes a push, gives it to a client, and is gone with its port and its name for the image', async () => {
    const { engine, scratch, directory } = place;
    let name: string;
    let port: number;
    {
      await using registry = await ContainerRegistry.start(engine, { scratch, image: registryImage });
      ({ name, port } = registry);
      const reference = await registry.push(payload, 'abc');
      assert.equal(reference, `127.0.0.1:${port}/claude-bottle:abc`);
      const target = join(directory, 'pulled');
      await mkdir(target);
      const pulled = await run(client('skopeo'), [
        'copy',
        '--src-tls-verify=false',
        `docker://${reference}`,
        `dir:${target}`,
      ]);
      assert.equal(pulled.code, 0, pulled.stderr);
      const published = await engine.run(['port', name]);
      assert.equal(published.stdout.trim(), `5000/tcp -> 127.0.0.1:${port}`);
    }
    assert.equal(await running(name), '');
    assert.equal(await listens(port), false);
    assert.deepEqual((await inspectImage(engine, payload.id)).tags, payload.tags);
  });

  test('that needs a moment is waited for, so the first push works', async () => {
    const { engine, scratch } = place;
    await using registry = await ContainerRegistry.start(engine, { scratch, image: slowImage });
    await registry.push(payload, 'slow');
  });

  test('that never listens is removed, and its last words are told', async () => {
    const { engine, scratch } = place;
    const context = await place.context({
      Dockerfile: 'FROM debian:bookworm-slim\nCMD ["sh", "-c", "echo no disk >&2; sleep 60"]\n',
    });
    const image = place.tag('deaf');
    await buildImage(engine, { context, tag: image, scratch });
    await assert.rejects(
      ContainerRegistry.start(engine, { scratch, image, readyMs: 700 }),
      (error: unknown) => {
        assert.ok(error instanceof RegistryNotReady);
        assert.deepEqual(error.fields.log, ['no disk']);
        return true;
      },
    );
    assert.equal((await engine.run(['ps', '-aq', '--filter', `ancestor=${image}`])).stdout.trim(), '');
  });

  test('two at once do not disturb each other', async () => {
    const { engine, scratch } = place;
    const start = () => ContainerRegistry.start(engine, { scratch, image: registryImage });
    const [first, second] = await Promise.all([start(), start()]);
    await using _first = first;
    {
      await using _second = second;
      assert.notEqual(first.port, second.port);
      await Promise.all([first.push(payload, 'one'), second.push(payload, 'two')]);
    }
    assert.equal(await running(second.name), '');
    assert.notEqual(await running(first.name), '');
    await first.push(payload, 'three');
  });

  test('interrupted while it starts, it is gone', async () => {
    const { engine, scratch } = place;
    const stop = new AbortController();
    const starting = ContainerRegistry.start(engine, { scratch, image: slowImage, signal: stop.signal });
    setTimeout(() => stop.abort(new Error('stopped')), 150);
    await assert.rejects(starting, /stopped/);
    assert.equal((await engine.run(['ps', '-aq', '--filter', `ancestor=${slowImage}`])).stdout.trim(), '');
  });

  test('whose image cannot be had says so', async () => {
    const { engine, scratch } = place;
    const image = '127.0.0.1:1/claude-bottle-absent:1';
    await assert.rejects(ContainerRegistry.start(engine, { scratch, image }), (error: unknown) => {
      assert.ok(error instanceof RegistryImageUnavailable, String(error));
      assert.equal(error.fields.image, image);
      assert.match(error.fields.words ?? '', /connection refused/);
      return true;
    });
  });
});
