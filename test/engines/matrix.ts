// One image into every engine, and the same flattened image out of each. Run by script/test-engines.
import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { removeContainer } from '../../src/engine/container.ts';
import { Engine } from '../../src/engine/engine.ts';
import { chooseFeeders } from '../../src/engine/feed/choose.ts';
import type { FeederName } from '../../src/engine/feed/feeder.ts';
import { sharesLoopback } from '../../src/engine/feed/loopback.ts';
import { feeders, runFeeders } from '../../src/engine/feed/run-feeders.ts';
import { type InspectedImage, inspectImage } from '../../src/engine/image.ts';
import { openFlatImage } from '../../src/oci/flat-image.ts';
import type { FedImage } from '../../src/oci/image.ts';
import { parseImageConfig } from '../../src/oci/image-config.ts';
import { LayerStore } from '../../src/oci/layer-store.ts';
import { EmbeddedRegistry } from '../../src/oci/registry/embedded-registry.ts';
import { Scratch } from '../../src/process/scratch.ts';
import { chunked, collect, temporaryDirectory } from '../oci/temporary.ts';
import { unpack, type UnpackedFile } from '../oci/tar-unpack.ts';
import { type Archive, type Form, makeArchive } from './archive.ts';
import { architecture, digestOf, expectation, matrixImage } from './image.ts';
import { differences, exportDifferences } from './export-differences.ts';
import { type ListedEngine, listedEngines } from './engines.ts';

const forms: readonly Form[] = ['plain', 'gzip', 'zstd', 'one of two platforms'];
const ways = ['direct', 'by its command'] as const;
const nameOf = (form: Form) => `localhost/claude-bottle-matrix:${form.replaceAll(' ', '-')}`;
const image = matrixImage();
const config = parseImageConfig(image.config);
const archives = new Map(forms.map((form) => [form, makeArchive(image, form, nameOf(form))]));
const diffIds = image.layers.map(digestOf);

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
/** What must come out of every engine: made from the layers themselves. */
let truth: { manifest: string; files: Map<string, UnpackedFile> };

before(async () => {
  directory = await temporaryDirectory();
  for (const [form, { bytes }] of archives) await writeFile(archivePath(form), bytes);
  await using ground = await workspace();
  for (const layer of image.layers)
    await ground.store.ingest(chunked(layer), { scratch: ground.scratch.path });
  truth = await flattened({ config, layers: diffIds }, ground);
});
after(() => directory[Symbol.asyncDispose]());

function archiveOf(form: Form): Archive {
  const archive = archives.get(form);
  assert.ok(archive !== undefined);
  return archive;
}
const archivePath = (form: Form) => join(directory.path, `${form}.tar`);

/** A layer store, a scratch directory and a registry that nobody else has used. */
async function workspace() {
  const root = await temporaryDirectory();
  const scratch = await Scratch.create(join(root.path, 'tmp'));
  const registry = await EmbeddedRegistry.start({ repository: 'claude-bottle', tag: 'matrix' });
  const store = new LayerStore(join(root.path, 'layers'));
  return {
    store,
    transient: store,
    scratch,
    registry,
    async [Symbol.asyncDispose]() {
      await registry[Symbol.asyncDispose]();
      await scratch[Symbol.asyncDispose]();
      await root[Symbol.asyncDispose]();
    },
  };
}
type Workspace = Awaited<ReturnType<typeof workspace>>;

async function flattened(fed: FedImage, { store, scratch }: Workspace) {
  await using flat = await openFlatImage(fed, store, { compression: 'none', scratch: scratch.path });
  const tar = await collect(flat.layer.read(0, flat.layer.size));
  return { manifest: flat.manifestDigest as string, files: unpack(tar) };
}

async function feedBy(name: FeederName, engine: Engine, inspected: InspectedImage, place: Workspace) {
  let bytes = 0;
  const fed = await feeders[name].feed({
    engine,
    image: inspected,
    ...place,
    onBytes: (count) => (bytes += count),
  });
  return { fed, bytes, ...(await flattened(fed, place)) };
}

/** Everything in the engine that a feeder could have left. */
async function contentsOf(engine: Engine): Promise<string> {
  const images = await engine.succeed('images', [
    'images',
    '--all',
    '--no-trunc',
    '--format',
    '{{.ID}} {{.Repository}}:{{.Tag}}',
  ]);
  const containers = await engine.succeed('ps', ['ps', '--all', '--quiet']);
  return [...images.stdout.trim().split('\n').sort(), containers.stdout].join('\n');
}

test('the image is what its layers say, whiteouts and all', () => {
  for (const path of expectation.present) assert.ok(truth.files.has(path), `${path} is missing`);
  for (const path of expectation.absent) assert.ok(!truth.files.has(path), `${path} came back`);
});

for (const listed of listedEngines()) {
  describe(listed.name, () => {
    if (listed.unavailable !== undefined) {
      test(`${listed.name}: gives the same image`, { skip: listed.unavailable }, () => undefined);
    } else if (listed.failed !== undefined) {
      test(`${listed.name}: starts`, () => assert.fail(listed.failed));
    } else {
      testEngine(listed, listed.command ?? '');
    }
  });
}

function testEngine(listed: ListedEngine, command: string): void {
  const isPodman = listed.store === 'podman';
  /** Podman's service takes plain HTTP for no registry that it was not configured to. */
  const takesUs = !isPodman || command === 'podman';
  const holds: Record<Form, boolean> = {
    plain: true,
    gzip: true,
    // Docker unpacks zstd from 23 on.
    zstd: listed.version !== '20.10',
    // Every other store drops the index as the image comes in.
    'one of two platforms': listed.store === 'containerd',
  };
  /** Over its socket where it has one, and by its command alone. */
  const engines = {} as Record<(typeof ways)[number], Engine>;
  before(async () => {
    engines.direct = await Engine.connect({ command, env: listed.env });
    engines['by its command'] = await Engine.connect({ command, env: listed.env, direct: false });
  });

  test(`${listed.name}: says what it is, the same both ways`, async () => {
    const info = await engines.direct.info();
    assert.equal(info.store, listed.store);
    assert.equal(info.product, isPodman ? 'podman' : 'docker');
    assert.ok(info.version.startsWith(listed.version), info.version);
    assert.equal(info.remote, false);
    assert.deepEqual(await engines['by its command'].info(), info);
    assert.equal(engines['by its command'].socket, undefined);
    if (listed.env.DOCKER_HOST !== undefined) {
      assert.equal(`unix://${engines.direct.socket}`, listed.env.DOCKER_HOST);
    }
  });

  test(`${listed.name}: an unknown image is told from other failures, and an unknown container is none`, async () => {
    for (const way of ways) {
      await assert.rejects(inspectImage(engines[way], 'localhost/claude-bottle-matrix:none'), {
        name: 'ImageMissing',
      });
    }
    await removeContainer(engines.direct, 'claude-bottle-matrix-none');
  });

  for (const form of forms.filter((name) => holds[name])) {
    describe(form, () => {
      const label = `${listed.name}, ${form}`;
      /** Docker before 28 pushes an index whole or not at all. */
      const pushes = takesUs && !(form === 'one of two platforms' && listed.version === '26.1');
      /** Podman 4 converts to Docker's own manifest when it saves, which knows no zstd. */
      const saves = !(isPodman && form === 'zstd');
      const working = (['push', 'save'] as const).filter((name) => (name === 'push' ? pushes : saves));
      let inspected: InspectedImage;
      before(async () => {
        await engines.direct.succeed('load', ['load', '--input', archivePath(form)]);
        inspected = await inspectImage(engines.direct, nameOf(form));
      });
      // One form at a time, or the engine would take the layers of the next from the one before.
      after(() => engines.direct.succeed('rmi', ['rmi', nameOf(form)]));

      test(`${label}: described as it was made`, async () => {
        assert.deepEqual(inspected.layers, diffIds);
        assert.deepEqual(inspected.config, config);
        assert.equal(inspected.architecture, architecture);
        assert.deepEqual(await inspectImage(engines['by its command'], nameOf(form)), inspected);
        const { index } = archiveOf(form);
        if (listed.store !== 'containerd') assert.equal(inspected.id, digestOf(image.config));
        else if (index !== undefined) assert.equal(inspected.id, index);
        else assert.notEqual(inspected.id, digestOf(image.config));
      });

      for (const way of ways) {
        for (const name of working) {
          test(`${label}: ${name} ${way} gives the image and leaves nothing`, async () => {
            const engine = engines[way];
            await using place = await workspace();
            const earlier = await contentsOf(engine);
            const { fed, bytes, manifest } = await feedBy(name, engine, inspected, place);
            assert.deepEqual(fed.layers, diffIds);
            assert.deepEqual(fed.config, config);
            assert.equal(manifest, truth.manifest);
            assert.ok(bytes > 0);
            assert.equal(await contentsOf(engine), earlier);
            const known = await feedBy('known', engine, inspected, place);
            assert.equal(known.manifest, truth.manifest);
          });
        }

        test(`${label}: export ${way} gives the same files but for what is listed, and leaves nothing`, async () => {
          const engine = engines[way];
          await using place = await workspace();
          const earlier = await contentsOf(engine);
          const { fed, files } = await feedBy('export', engine, inspected, place);
          assert.deepEqual(fed.config, config);
          assert.deepEqual(differences(truth.files, files), exportDifferences(listed));
          assert.equal(await contentsOf(engine), earlier);
        });

        for (const name of [...working, 'export' as const]) {
          test(`${label}: ${name} ${way}, interrupted, leaves nothing but whole layers`, async () => {
            const engine = engines[way];
            await using place = await workspace();
            const earlier = await contentsOf(engine);
            const reason = new Error('interrupted by the test');
            const stop = new AbortController();
            const fed = feeders[name].feed({
              ...{ engine, image: inspected, ...place },
              signal: stop.signal,
              onBytes: () => stop.abort(reason),
            });
            await assert.rejects(fed, (error) => error === reason);
            assert.equal(await contentsOf(engine), earlier);
            // Layers that came whole may stay, for the next try.
            const kept = (await place.store.list()).map(({ diffId }) => diffId);
            assert.deepEqual(
              kept.filter((diffId) => !diffIds.includes(diffId)),
              [],
            );
            assert.deepEqual(
              (await readdir(place.scratch.path)).filter((file) => file.endsWith('.tar')),
              [],
            );
          });
        }
      }

      if (pushes) {
        test(`${label}: a push after a push sends next to nothing`, async () => {
          await using place = await workspace();
          const first = await feedBy('push', engines.direct, inspected, place);
          const second = await feedBy('push', engines.direct, inspected, place);
          assert.equal(second.manifest, truth.manifest);
          assert.ok(second.bytes * 20 < first.bytes, `${second.bytes} after ${first.bytes} bytes`);
        });
      }

      test(`${label}: of the feeders that are chosen, one delivers`, async () => {
        await using place = await workspace();
        const { store, version } = await engines.direct.info();
        for (const way of ways)
          assert.equal(await sharesLoopback(engines[way], place.registry, place), takesUs);
        const { order } = chooseFeeders({
          ...{ store, version, sharesLoopback: takesUs, tagged: true, builds: 1 },
          ...{ knownLayers: 0, layers: diffIds.length },
        });
        const context = { engine: engines.direct, image: inspected, ...place };
        const { image: fed, feeder } = await runFeeders(order, context);
        assert.equal(feeder, expectedFeeder(version));
        const { manifest, files } = await flattened(fed, place);
        if (feeder === 'export') assert.deepEqual(differences(truth.files, files), exportDifferences(listed));
        else assert.equal(manifest, truth.manifest);
      });

      function expectedFeeder(version: string): FeederName {
        if (isPodman && saves) return 'save';
        if (isPodman) return pushes ? 'push' : 'export';
        if (listed.store === 'containerd') return pushes ? 'push' : 'save';
        return Number.parseInt(version) <= 26 ? 'export' : 'save';
      }
    });
  }
}
