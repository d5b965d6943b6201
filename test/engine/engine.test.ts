import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Engine, environmentOf } from '../../src/engine/engine.ts';
import {
  EngineCommandFailed,
  EngineDenied,
  EngineUnreachable,
  ImageMissing,
} from '../../src/engine/errors.ts';
import { imageExists, imageId, inspectImage, untagImage } from '../../src/engine/image.ts';
import { removeContainer } from '../../src/engine/container.ts';
import { fakeEngine } from './fake-engine.ts';

const hex = 'ab'.repeat(32);

describe('an engine that cannot be used says why', () => {
  test('its program is missing', async () => {
    await assert.rejects(Engine.connect({ command: '/nowhere/docker' }), { name: 'EngineMissing' });
  });

  test('nobody answers, with the endpoint and the words of the program', async () => {
    await using fake = await fakeEngine(
      `info\\ *) echo 'Cannot connect to the Docker daemon at tcp://127.0.0.1:1. Is the docker daemon running?' >&2; exit 1 ;;`,
    );
    await assert.rejects(fake.connect(), (error: unknown) => {
      assert.ok(error instanceof EngineUnreachable);
      assert.equal(error.fields.endpoint, 'tcp://127.0.0.1:1');
      assert.match(error.fields.words ?? '', /^Cannot connect to the Docker daemon/);
      return true;
    });
  });

  const refusal =
    'permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: dial unix /var/run/docker.sock: connect: permission denied';
  const forms = {
    'on standard error': `info\\ *) echo '${refusal}' >&2; exit 1 ;;`,
    'inside a successful answer, as CLIs before 23 do': `info\\ *) echo '${JSON.stringify({ ServerErrors: [refusal] })}' ;;`,
  };
  for (const [how, cases] of Object.entries(forms)) {
    test(`this user may not, told ${how}`, async () => {
      await using fake = await fakeEngine(cases);
      await assert.rejects(fake.connect(), (error: unknown) => {
        assert.ok(error instanceof EngineDenied);
        assert.equal(error.fields.words, refusal);
        return true;
      });
    });
  }

  test('what answers is no engine', async () => {
    await using fake = await fakeEngine(`info\\ *) echo hello ;;`);
    await assert.rejects(fake.connect(), { name: 'EngineAnswerUnknown' });
  });
});

describe('what an engine says of itself', () => {
  const podman = {
    host: {
      remoteSocket: { path: 'unix:///run/nowhere.sock', exists: true },
      serviceIsRemote: false,
      security: { rootless: true },
      distribution: { distribution: 'debian', version: '12' },
    },
    store: { graphDriverName: 'overlay' },
    version: { Version: '5.4.2' },
  };
  const expected: [string, object, object][] = [
    [
      'graph driver',
      { ServerVersion: '26.1.5', Driver: 'overlay2', DriverStatus: [['Backing Filesystem', 'extfs']] },
      { product: 'docker', store: 'graph-driver', version: '26.1.5', rootless: false, remote: true },
    ],
    [
      'containerd store',
      {
        ServerVersion: '28.5.2',
        Driver: 'overlayfs',
        DriverStatus: [['driver-type', 'io.containerd.snapshotter.v1']],
        SecurityOptions: ['name=seccomp,profile=builtin', 'name=rootless'],
      },
      { product: 'docker', store: 'containerd', driver: 'overlayfs', rootless: true },
    ],
    [
      'podman, by whatever name it is called',
      podman,
      { product: 'podman', store: 'podman', version: '5.4.2', rootless: true, remote: false },
    ],
  ];
  for (const [what, answer, info] of expected) {
    test(what, async () => {
      await using fake = await fakeEngine(`info\\ *) echo '${JSON.stringify(answer)}' ;;`);
      const engine = await fake.connect();
      assert.partialDeepStrictEqual(await engine.info(), info);
      assert.equal(engine.socket, undefined, 'a socket that nobody listens on is none');
    });
  }
});

describe('an image id', () => {
  test('is trimmed, and gets the algorithm that podman leaves out', async () => {
    for (const printed of [`sha256:${hex}`, hex]) {
      await using fake = await fakeEngine(`image\\ inspect\\ *) echo ${printed} ;;`);
      assert.equal(await imageId(await fake.connect(), 'x:1'), `sha256:${hex}`);
      assert.deepEqual(await fake.calls(), ['image inspect --format {{.Id}} x:1']);
    }
  });

  test('of an image that is missing: the failure names the reference and quotes the engine', async () => {
    for (const said of ['Error response from daemon: No such image: x:1', 'Error: x:1: image not known']) {
      await using fake = await fakeEngine(`image\\ *) echo '${said}  ' >&2; exit 1 ;;`);
      const engine = await fake.connect();
      await assert.rejects(imageId(engine, 'x:1'), (error: unknown) => {
        assert.ok(error instanceof ImageMissing);
        assert.deepEqual(error.fields, { reference: 'x:1', words: said });
        return true;
      });
      assert.equal(await imageExists(engine, 'x:1'), false);
    }
  });

  test('that the engine fails to tell without a word: the failure has none to quote', async () => {
    await using fake = await fakeEngine(`image\\ *) exit 3 ;;`);
    const engine = await fake.connect();
    await assert.rejects(imageId(engine, 'x:1'), (error: unknown) => {
      assert.ok(error instanceof EngineCommandFailed);
      assert.equal(error.fields.subject, 'x:1');
      assert.equal(error.fields.exitCode, 3);
      assert.equal('words' in error.fields, false);
      return true;
    });
    await assert.rejects(imageExists(engine, 'x:1'), { name: 'EngineCommandFailed' });
  });
});

test('an inspected image reads the same from docker and podman', async () => {
  const image = {
    Architecture: 'arm64',
    Os: 'linux',
    Size: 12,
    RootFS: { Type: 'layers', Layers: [`sha256:${hex}`] },
  };
  const answers = [
    {
      ...image,
      Id: `sha256:${hex}`,
      Variant: '',
      RepoTags: ['x:1'],
      Config: { Cmd: ['a'], Labels: null, User: '' },
    },
    { ...image, Id: hex, RepoTags: ['x:1'], Config: { Cmd: ['a'] } },
  ];
  const read = await Promise.all(
    answers.map(async (answer) => {
      await using fake = await fakeEngine(`image\\ inspect\\ *) echo '${JSON.stringify([answer])}' ;;`);
      return await inspectImage(await fake.connect(), 'x:1');
    }),
  );
  assert.deepEqual(read[0], read[1]);
  assert.deepEqual(read[0], {
    id: `sha256:${hex}`,
    reference: 'x:1',
    architecture: 'arm64',
    os: 'linux',
    layers: [`sha256:${hex}`],
    config: { architecture: 'arm64', os: 'linux', config: { Cmd: ['a'] } },
    tags: ['x:1'],
    size: 12,
  });
});

test('removing what is gone is no error, and any other failure is', async () => {
  await using gone = await fakeEngine(
    `rm\\ *) echo 'Error response from daemon: No such container: c' >&2; exit 1 ;;
     rmi\\ *) echo 'Error response from daemon: No such image: r' >&2; exit 1 ;;`,
  );
  const engine = await gone.connect();
  await removeContainer(engine, 'c');
  await untagImage(engine, 'r');
  await using stuck = await fakeEngine(`rm*) echo 'Error: device busy' >&2; exit 1 ;;`);
  const other = await stuck.connect();
  await assert.rejects(removeContainer(other, 'c'), /device busy/);
  await assert.rejects(untagImage(other, 'r'), /device busy/);
});

test('the address of an engine leads a process with another environment to the same one', async () => {
  await using fake = await fakeEngine('');
  const engine = await Engine.connect({ command: fake.command, env: { DOCKER_HOST: 'tcp://127.0.0.1:9' } });
  const env = environmentOf(engine.address);
  assert.equal(engine.address.command, fake.command);
  assert.equal(env.DOCKER_HOST, 'tcp://127.0.0.1:9');
  assert.ok('DOCKER_CONTEXT' in env && env.DOCKER_CONTEXT === undefined, 'what was unset is unset again');
});
