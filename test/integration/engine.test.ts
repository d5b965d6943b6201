import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { buildImage } from '../../src/engine/build.ts';
import { createContainer, exportContainer, removeContainer } from '../../src/engine/container.ts';
import { Engine } from '../../src/engine/engine.ts';
import { BuildFailed } from '../../src/engine/errors.ts';
import {
  imageExists,
  imageId,
  inspectImage,
  saveImage,
  tagImage,
  untagImage,
} from '../../src/engine/image.ts';
import type { Transfer } from '../../src/engine/transfer.ts';
import { run } from '../../src/process/run.ts';
import { type Bench, bench, engineNames } from './engines.ts';

const dockerfile = `FROM scratch
COPY file /file
ENV A=b
ENTRYPOINT ["/file"]
CMD ["x"]
WORKDIR /
LABEL l=v
EXPOSE 80/tcp
`;

async function digestOf(transfer: Transfer): Promise<string> {
  await using open = transfer;
  const hash = createHash('sha256');
  for await (const chunk of open.bytes) hash.update(chunk as Buffer);
  await open.finish();
  return hash.digest('hex');
}

for (const name of engineNames) {
  describe(name, () => {
    let place: Bench;
    before(async () => {
      place = await bench(name);
    });
    after(() => place[Symbol.asyncDispose]());

    test('identical inputs give the identical image, and the id is the one the engine lists', async () => {
      const { engine, scratch } = place;
      const context = await place.context({ Dockerfile: dockerfile, file: 'content' });
      const tag = place.tag('same');
      const first = await buildImage(engine, { context, tag, scratch });
      const second = await buildImage(engine, { context, tag, scratch });
      assert.equal(second, first);
      assert.equal(await imageId(engine, tag), first);
      const image = await inspectImage(engine, first);
      assert.equal(image.id, first);
      assert.equal(image.layers.length, 1);
      assert.deepEqual(image.tags, [tag]);
      assert.partialDeepStrictEqual(image.config.config, {
        Entrypoint: ['/file'],
        Cmd: ['x'],
        WorkingDir: '/',
        ExposedPorts: { '80/tcp': {} },
      });
      assert.ok(image.config.config.Env?.includes('A=b'));
      assert.equal(image.config.config.Labels?.l, 'v');
    });

    test('two builds that race for one tag each give their own image', async () => {
      const { engine, scratch } = place;
      const tag = place.tag('race');
      const contexts = await Promise.all(
        ['one', 'two'].map((file) => place.context({ Dockerfile: 'FROM scratch\nCOPY file /file\n', file })),
      );
      const ids = await Promise.all(contexts.map((context) => buildImage(engine, { context, tag, scratch })));
      assert.notEqual(ids[0], ids[1]);
      for (const [at, context] of contexts.entries()) {
        const again = await buildImage(engine, { context, tag, scratch });
        assert.equal(again, ids[at], await readFile(`${context}/file`, 'utf8'));
      }
      for (const id of ids) await run(name, ['rmi', '--force', id]);
    });

    test('a failing step is named, and leaves no container', async () => {
      const { engine, scratch } = place;
      const output = `some output ${randomBytes(4).toString('hex')}`;
      const context = await place.context({
        Dockerfile: `FROM ${await place.base()}\nRUN echo ${output}; exit 7\n`,
      });
      const lines: string[] = [];
      const building = buildImage(engine, {
        context,
        tag: place.tag('fails'),
        scratch,
        onLine: (line) => lines.push(line),
      });
      await assert.rejects(building, (error: unknown) => {
        assert.ok(error instanceof BuildFailed, String(error));
        assert.equal(error.fields.step, '2/2');
        assert.equal(error.fields.command, `RUN echo ${output}; exit 7`);
        assert.ok(error.fields.tail.includes(output), error.fields.tail.join('\n'));
        assert.notEqual(error.fields.exitCode, 0);
        return true;
      });
      assert.ok(lines.some((line) => line.includes(output)));
      const containers = await engine.run(['ps', '-a', '--no-trunc', '--format', '{{.Command}}']);
      assert.equal(containers.code, 0);
      assert.ok(!containers.stdout.includes(output), containers.stdout);
    });

    test('build arguments, target and another Dockerfile reach the builder', async () => {
      const { engine, scratch } = place;
      const context = await place.context({
        other: 'FROM scratch AS a\nARG X\nENV Y=$X\nLABEL s=a\nFROM a AS b\nLABEL s=b\n',
      });
      const id = await buildImage(engine, {
        context,
        dockerfile: `${context}/other`,
        target: 'a',
        buildArgs: [{ name: 'X', value: 'a b=c' }],
        tag: place.tag('flags'),
        scratch,
      });
      const { config } = (await inspectImage(engine, id)).config;
      assert.ok(config.Env?.includes('Y=a b=c'), config.Env?.join());
      assert.equal(config.Labels?.s, 'a');
    });

    test('an image exists until its last name is gone; names come and go alone', async () => {
      const { engine, scratch } = place;
      const context = await place.context({ Dockerfile: 'FROM scratch\nCOPY file /f\n', file: 'names' });
      const tag = place.tag('names');
      const other = place.tag('names-2');
      await buildImage(engine, { context, tag, scratch });
      await tagImage(engine, tag, other);
      await tagImage(engine, tag, other);
      await untagImage(engine, other);
      assert.equal(await imageExists(engine, other), false);
      assert.equal(await imageExists(engine, tag), true);
      await untagImage(engine, other);
      await assert.rejects(inspectImage(engine, other), { name: 'ImageMissing' });
    });

    test('a container is created without a command of the image, exported, and gone', async () => {
      const { engine, scratch } = place;
      const context = await place.context({
        Dockerfile: 'FROM scratch\nCOPY file /f\nVOLUME /v\n',
        file: 'x',
      });
      const image = await buildImage(engine, { context, tag: place.tag('export'), scratch });
      const container = `claude-bottle-test-${process.pid}`;
      await createContainer(engine, { image, name: container });
      const mounts = await engine.run([
        'inspect',
        '--format',
        '{{range .Mounts}}{{.Name}}{{end}}',
        container,
      ]);
      const volume = mounts.stdout.trim();
      try {
        assert.match(volume, /^[0-9a-f]{64}$/);
        const { length } = await digestOf(
          await exportContainer(engine, container, { spool: scratch.file('spool') }),
        );
        assert.equal(length, 64);
      } finally {
        await removeContainer(engine, container);
      }
      await removeContainer(engine, container);
      assert.equal((await engine.run(['ps', '-aq', '--filter', `name=${container}`])).stdout, '');
      assert.notEqual((await engine.run(['volume', 'inspect', volume])).code, 0);
    });
  });
}

test('the socket and the CLI save and export the same bytes', async () => {
  await using place = await bench('docker');
  const { engine, cli, scratch } = place;
  assert.ok(engine.socket !== undefined, 'docker is reached through its socket');
  assert.equal(cli.socket, undefined);
  const context = await place.context({ Dockerfile: dockerfile, file: Buffer.alloc(3_000_000, 'x') });
  const id = await buildImage(engine, { context, tag: place.tag('same'), scratch });
  assert.equal(await digestOf(await saveImage(engine, id)), await digestOf(await saveImage(cli, id)));
  const container = `claude-bottle-test-same-${process.pid}`;
  await createContainer(engine, { image: id, name: container });
  try {
    const spool = scratch.file('spool');
    assert.equal(
      await digestOf(await exportContainer(engine, container, { spool })),
      await digestOf(await exportContainer(cli, container, { spool })),
    );
  } finally {
    await removeContainer(engine, container);
  }
});

test('a missing image fails alike by socket and CLI, with the words of the engine', async () => {
  await using place = await bench('docker');
  for (const engine of [place.engine, place.cli]) {
    const saving = (async () => digestOf(await saveImage(engine, 'localhost/claude-bottle-absent:1')))();
    await assert.rejects(saving, (error: Error) => {
      assert.match(error.message, /claude-bottle-absent/);
      return true;
    });
  }
});

test('giving a transfer up early stops the engine and leaves no child', async () => {
  await using place = await bench('docker');
  for (const engine of [place.engine, place.cli]) {
    const transfer = await saveImage(engine, 'debian:bookworm-slim');
    for await (const chunk of transfer.bytes) {
      assert.ok((chunk as Buffer).length > 0);
      break;
    }
    await transfer[Symbol.asyncDispose]();
    assert.equal(transfer.bytes.destroyed, true);
  }
});

test('no engine at the endpoint, and no right to use it, are told apart', async () => {
  await assert.rejects(
    Engine.connect({ command: 'docker', env: { DOCKER_HOST: 'unix:///nowhere/docker.sock' } }),
    {
      name: 'EngineUnreachable',
    },
  );
  await assert.rejects(Engine.connect({ command: 'docker', env: { DOCKER_CONTEXT: 'nowhere' } }), {
    name: 'EngineUnreachable',
  });
});
