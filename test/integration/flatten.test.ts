import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import * as v from 'valibot';
import { openFlatImage } from '../../src/oci/flat-image.ts';
import { parseDiffIds, parseImageConfig } from '../../src/oci/image-config.ts';
import type { LayerStore } from '../../src/oci/layer-store.ts';
import { run } from '../../src/process/run.ts';
import { type UnpackedFile, unpack } from '../oci/tar-unpack.ts';
import { collect, temporaryStore } from '../oci/temporary.ts';

/** Everything that layers can do to each other. Nothing here needs the network. */
const dockerfile = String.raw`
FROM debian:bookworm-slim
RUN mkdir -p /t/opaque/old /t/deep/er && echo old > /t/opaque/old/file && echo 1 > /t/deep/er/file \
 && echo linked > /t/first && ln /t/first /t/second && ln /t/first /t/other && ln /t/first /t/deep/third \
 && echo s > /t/file-to-directory && mkdir -p /t/directory-to-file/inner && echo x > /t/directory-to-file/inner/f \
 && mkdir -p /t/target && echo t > /t/target/f && ln -s target /t/link-to-directory \
 && mknod /t/null c 1 3 && mknod /t/disk b 7 0 && mkfifo /t/fifo && ln -s /nowhere /t/dangling \
 && echo secret > /t/secret && chmod 4755 /t/first && chown 33:44 /t/deep && touch -d @123456789 /t/deep/er
RUN cp /bin/true /t/capable && perl -e 'my ($file, $name) = ("/t/capable", "security.capability"); \
      my $value = pack("V5", 0x02000001, 1 << 10, 0, 0, 0); syscall(188, $file, $name, $value, 20, 0) == 0 or die $!'
RUN rm -rf /t/opaque && mkdir /t/opaque && echo new > /t/opaque/new
RUN rm /t/secret /t/first && rm -r /t/directory-to-file && echo now a file > /t/directory-to-file \
 && rm /t/file-to-directory && mkdir /t/file-to-directory && echo y > /t/file-to-directory/y
RUN d=/t/$(printf 'long-%.0s' $(seq 30)) && mkdir $d && echo z > $d/$(printf 'name-%.0s' $(seq 40)) \
 && ln $d/name-* $d/hard-$(printf 'link-%.0s' $(seq 30)) && ln -s $d/name-* /t/far && echo ü > "/t/na me-ü"
RUN rm /t/link-to-directory && mkdir /t/link-to-directory && echo own > /t/link-to-directory/own \
 && chmod 700 /t/deep && mv /t/fifo /t/renamed && rm -rf /usr/share/doc
RUN ln /t/deep/third /t/late-link && mkdir /t/gone && rmdir /t/gone && head -c 3000000 /dev/zero > /t/zeros
ENV A=1
CMD ["/t/capable"]
`;

/**
 * What a container's file system has and its image has not: mount points that Docker 20.10 makes (moby,
 * daemon/initlayer/setup_unix.go), in directories whose times change with that.
 */
const exportersOwn = [
  'dev/console',
  'dev/pts',
  'dev/shm',
  'etc/hosts',
  'etc/mtab',
  'etc/resolv.conf',
  'etc/hostname',
  'proc',
  'sys',
];
const exportersTimes = ['dev', 'etc'];

const SavedImages = v.strictTuple([v.object({ Config: v.string(), Layers: v.array(v.string()) })]);

async function docker(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run('docker', args, { env: { DOCKER_BUILDKIT: '0' } });
  assert.equal(code, 0, `docker ${args[0] ?? ''}: ${stderr}`);
  return stdout.trim();
}

/** Takes an image out by `docker save`, by the file names that its manifest.json gives, nothing cleverer. */
async function feed(image: string, store: LayerStore, scratch: string) {
  const archive = join(scratch, 'saved.tar');
  const saved = join(scratch, 'saved');
  await docker('save', '-o', archive, image);
  await mkdir(saved);
  assert.equal((await run('tar', ['-xf', archive, '-C', saved])).code, 0);
  const [manifest] = v.parse(SavedImages, JSON.parse(await readFile(join(saved, 'manifest.json'), 'utf8')));
  const config = await readFile(join(saved, manifest.Config));
  const diffIds = parseDiffIds(config);
  assert.equal(diffIds.length, manifest.Layers.length);
  for (const [number, diffId] of diffIds.entries()) {
    const source = createReadStream(join(saved, manifest.Layers[number]!));
    await store.ingest(source, { scratch, expect: { diffId } });
  }
  return { config: parseImageConfig(config), layers: diffIds };
}

async function exported(image: string, scratch: string): Promise<Map<string, UnpackedFile>> {
  const archive = join(scratch, 'exported.tar');
  const container = await docker('create', image);
  try {
    await docker('export', '-o', archive, container);
  } finally {
    await docker('rm', '-f', container);
  }
  return unpack(await readFile(archive));
}

function described(files: ReadonlyMap<string, UnpackedFile>): Map<string, object> {
  const names = new Map<UnpackedFile, string[]>();
  for (const [path, file] of files) names.set(file, [...(names.get(file) ?? []), path].toSorted());
  return new Map(
    [...files].map(([path, file]) => {
      const { extra, content, mode, ...rest } = file;
      const attributes = Object.entries(extra).filter(([key]) => key.startsWith('SCHILY.xattr.'));
      const names_ = names.get(file);
      // Docker before 26 repeats the kind of file in the mode.
      return [
        path,
        { ...rest, mode: mode & 0o7777, attributes, names: names_, content: content.toString('base64') },
      ];
    }),
  );
}

test(
  'a real image of every kind of change flattens to what docker export gives',
  { timeout: 300_000 },
  async () => {
    await using use = await temporaryStore();
    await using cleanup = new AsyncDisposableStack();
    const { store, scratch } = use;
    const image = `claude-bottle-test-flatten:${randomBytes(4).toString('hex')}`;
    const context = join(scratch, 'context');
    await mkdir(context);
    await writeFile(join(context, 'Dockerfile'), dockerfile);
    cleanup.defer(() => docker('rmi', '-f', image).then(() => undefined));
    await docker('build', '--no-cache', '--force-rm', '-q', '-t', image, context);

    const fed = await feed(image, store, scratch);
    assert.ok(fed.layers.length >= 8);
    await using flat = await openFlatImage(fed, store, { compression: 'none', scratch });
    const found = described(unpack(await collect(flat.layer.read(0, flat.layer.size))));
    const expected = described(await exported(image, scratch));

    // First, that the image is what it is meant to be.
    assert.ok(!found.has('t/secret') && !found.has('t/opaque/old') && !found.has('t/first'));
    // The engine's file system parts a link from the others when it changes; those that it leaves alone stay together.
    assert.deepEqual((found.get('t/second') as { names: string[] }).names, ['t/other', 't/second']);
    assert.deepEqual((found.get('t/deep/third') as { names: string[] }).names, [
      't/deep/third',
      't/late-link',
    ]);
    assert.equal((found.get('t/capable') as { attributes: unknown[] }).attributes.length, 1);
    assert.equal((found.get('t/null') as { device: string }).device, '1:3');

    // Docker leaves the root directory itself out of an export.
    found.delete('');
    assert.ok(expected.delete('.dockerenv'), 'docker export has no .dockerenv any more');
    for (const path of exportersOwn) {
      assert.ok(expected.delete(path), `docker export has no ${path} any more`);
      found.delete(path);
    }
    for (const path of exportersTimes) {
      Object.assign(expected.get(path) ?? {}, { mtime: 0 });
      Object.assign(found.get(path) ?? {}, { mtime: 0 });
    }
    assert.deepEqual([...found.keys()].toSorted(), [...expected.keys()].toSorted());
    for (const [path, file] of found) assert.deepEqual(file, expected.get(path), path);
  },
);
