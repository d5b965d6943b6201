import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildImage } from '../../src/engine/build.ts';
import type { Engine } from '../../src/engine/engine.ts';
import type { FeederName } from '../../src/engine/feed/feeder.ts';
import { sharesLoopback } from '../../src/engine/feed/loopback.ts';
import { feeders, runFeeders } from '../../src/engine/feed/run-feeders.ts';
import { type InspectedImage, inspectImage } from '../../src/engine/image.ts';
import { openFlatImage } from '../../src/oci/flat-image.ts';
import { LayerStore } from '../../src/oci/layer-store.ts';
import { EmbeddedRegistry } from '../../src/oci/registry/embedded-registry.ts';
import { Interrupted } from '../../src/process/errors.ts';
import { collect } from '../oci/temporary.ts';
import { unpack } from '../oci/tar-unpack.ts';
import { type Bench, bench, engineNames } from './engines.ts';

/** Deleted, replaced and repeated things, in a base of real size. */
const dockerfile = (base: string) => `FROM ${base}
RUN echo secret >/secret && mkdir /dir && echo a >/dir/a && ln /dir/a /dir/linked
RUN rm /secret && rm -r /dir && mkdir /dir && echo b >/dir/b
COPY file /a/file
COPY file /b/file
RUN rm -rf /usr/share/doc && echo x >/usr/share/doc
ENV A=b
CMD ["/bin/true"]
`;

interface Fed {
  readonly layer: string;
  readonly manifest: string;
  readonly bytes: number;
  readonly paths: () => Promise<Set<string>>;
}

for (const command of engineNames) {
  describe(command, () => {
    let place: Bench;
    let image: InspectedImage;
    let number = 0;

    before(async () => {
      place = await bench(command);
      const context = await place.context({
        Dockerfile: dockerfile(await place.base()),
        file: randomBytes(100_000),
      });
      const id = await buildImage(place.engine, { context, tag: place.tag('fed'), scratch: place.scratch });
      image = await inspectImage(place.engine, id);
    });
    after(() => place[Symbol.asyncDispose]());

    const newStore = () => new LayerStore(join(place.directory, `layers-${number++}`));
    async function journalled(kind: string): Promise<string[]> {
      const text = await readFile(place.scratch.file('leftovers.jsonl'), 'utf8').catch(() => '');
      const lines = text.split('\n').filter((line) => line !== '');
      return lines
        .map((line) => JSON.parse(line) as { kind: string; name: string })
        .filter((leftover) => leftover.kind === kind)
        .map(({ name }) => name);
    }
    const start = () => EmbeddedRegistry.start({ repository: 'claude-bottle', tag: 'test' });

    async function feed(name: FeederName, store: LayerStore, engine: Engine = place.engine): Promise<Fed> {
      const { scratch } = place;
      await using registry = await start();
      let bytes = 0;
      const fed = await feeders[name].feed({
        engine,
        image,
        store,
        transient: store,
        scratch,
        registry,
        onBytes: (count) => (bytes += count),
      });
      await using flat = await openFlatImage(fed, store, { compression: 'none', scratch: scratch.path });
      const whole = await collect(flat.layer.read(0, flat.layer.size));
      return {
        layer: flat.layer.digest,
        manifest: flat.manifestDigest,
        bytes,
        paths: () => Promise.resolve(new Set(unpack(whole).keys())),
      };
    }

    test('push and save, through the socket and through the CLI, give one flattened image', async () => {
      const all: Fed[] = [];
      for (const engine of [place.engine, place.cli]) {
        for (const name of ['push', 'save'] as const) all.push(await feed(name, newStore(), engine));
      }
      const [first] = all;
      assert.ok(first !== undefined);
      for (const fed of all) {
        assert.equal(fed.layer, first.layer);
        assert.equal(fed.manifest, first.manifest);
        assert.ok(fed.bytes > 100_000);
      }
      const paths = await first.paths();
      for (const path of ['b/file', 'dir/b', 'usr/share/doc', 'bin']) assert.ok(paths.has(path), path);
      for (const path of ['secret', 'dir/a', 'dir/linked']) assert.ok(!paths.has(path), path);
    });

    test('what is known needs nothing of the engine and gives the same', async () => {
      const store = newStore();
      const saved = await feed('save', store);
      const known = await feed('known', store);
      assert.equal(known.manifest, saved.manifest);
      assert.equal(known.bytes, 0);
    });

    test('an image that is pushed again is not sent again', async () => {
      const store = newStore();
      const first = await feed('push', store);
      const again = await feed('push', store);
      assert.equal(again.manifest, first.manifest);
      assert.ok(again.bytes < 64 * 1024, `${again.bytes} bytes`);
      assert.ok(first.bytes > 1024 * 1024, `${first.bytes} bytes`);
    });

    test('an exported image has the same files, but for what the engine puts into a container', async () => {
      const [saved, exported] = [await feed('save', newStore()), await feed('export', newStore())];
      const [expected, actual] = [await saved.paths(), await exported.paths()];
      const missing = [...expected].filter((path) => !actual.has(path));
      assert.deepEqual(missing, [''], 'an export does not describe the root itself');
      const added = [...actual].filter((path) => !expected.has(path));
      assert.ok(!added.includes('.dockerenv'));
      const engines = new Set([
        'dev/console',
        'dev/pts',
        'dev/shm',
        'etc/mtab',
        'etc/hosts',
        'etc/hostname',
        'etc/resolv.conf',
      ]);
      assert.deepEqual(
        added.filter((path) => !engines.has(path)),
        [],
      );
    });

    test('the probe finds that the engine reaches our loopback, through the socket and through the CLI', async () => {
      for (const engine of [place.engine, place.cli]) {
        await using registry = await start();
        assert.equal(await sharesLoopback(engine, registry, { scratch: place.scratch }), true);
      }
    });

    test('interrupted in the middle, a feeder leaves nothing: no container, no name, no file', async () => {
      for (const name of ['push', 'save', 'export'] as const) {
        await using registry = await start();
        const store = newStore();
        const stop = new AbortController();
        const feeding = runFeeders([name], {
          engine: place.engine,
          image,
          store,
          transient: store,
          scratch: place.scratch,
          registry,
          signal: stop.signal,
          onBytes: () => stop.abort(new Interrupted({ signal: 'SIGINT' })),
        });
        await assert.rejects(feeding, { name: 'Interrupted' }, name);
        assert.deepEqual((await inspectImage(place.engine, image.id)).tags, image.tags, name);
        for (const container of await journalled('container')) {
          const found = await place.engine.run(['ps', '-aq', '--filter', `name=${container}`]);
          assert.deepEqual([found.code, found.stdout], [0, ''], name);
        }
        const left = (await readdir(place.scratch.path)).filter((file) => !/^(owner|leftovers)\./.test(file));
        assert.deepEqual(left, [], name);
      }
    });
  });
}
