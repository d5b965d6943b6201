import assert from 'node:assert/strict';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { Bench, type Environment } from '../faults/harness.ts';
import { RegistryImage } from '../faults/registry-image.ts';
import { filesOf, readArtifact } from '../smolvm/artifact.ts';

// The whole of pack, from a Dockerfile to what smolvm would boot: a real engine, our registry, the double for smolvm.

let bench: Bench;
before(async () => {
  bench = await Bench.open({ megabytes: 1 });
  await writeFile(join(bench.project, 'secret'), 'hunter2');
  await writeFile(
    join(bench.project, 'Dockerfile'),
    [
      'FROM debian:bookworm-slim AS base',
      'FROM scratch',
      'COPY --from=base /bin/true /bin/',
      'COPY one /srv/',
      'ENV GREETING=hello',
      'USER 1000:1000',
      'CMD ["/bin/true"]',
    ].join('\n'),
  );
});
after(() => bench[Symbol.asyncDispose]());

interface Document {
  readonly path: string;
  readonly cached: boolean;
  readonly manifestDigest: string;
  readonly smolvmVersion?: string;
  readonly feeder?: string;
}

async function pack(args: readonly string[], env: Environment = {}): Promise<Document & { stderr: string }> {
  const { code, stdout, stderr } = await bench.run(['pack', bench.project, '--json', ...args], env);
  assert.equal(code, 0, stderr);
  return { ...(JSON.parse(stdout) as Document), stderr };
}

for (const version of ['0.8.0', '1.0.2', '1.5.0', '1.7.0', '1.8.1', '1.9.3']) {
  test(`smolvm ${version} gets an artifact of one layer out of our registry`, async () => {
    const env = { FAKE_SMOLVM_VERSION: version };
    const made = await pack(['--no-cache'], env);
    assert.equal(made.smolvmVersion, version);
    const info = await run(
      bench.env['CLAUDE_BOTTLE_SMOLVM']!,
      ['pack', 'run', '--sidecar', made.path, '--info'],
      { env },
    );
    assert.equal(info.code, 0, info.stderr);
    const { crcHolds, layers, manifest } = await readArtifact(made.path);
    assert.ok(crcHolds);
    assert.equal(layers.length, 1);
    assert.ok((manifest['env'] as string[]).includes('GREETING=hello'));
    const files = await filesOf(layers[0]!.bytes);
    assert.ok('bin/true' in files && 'srv/one' in files);
    const again = await pack([], env);
    assert.deepEqual([again.path, again.cached], [made.path, true]);
  });
}

test('what a later layer deleted is in no artifact of ours, and only the container registry brings it back', async () => {
  await using registryImage = await RegistryImage.build();
  await writeFile(
    join(bench.project, 'Dockerfile'),
    'FROM debian:bookworm-slim\nCOPY secret /srv/secret\nRUN rm /srv/secret && echo kept >/srv/kept\n',
  );
  const contentsOf = async (path: string) => {
    const [layer] = (await readArtifact(path)).layers;
    const listed = await run('tar', ['-tf', await unpacked(layer!.bytes)], { captureBytes: 16e6 });
    return listed.stdout.split('\n').map((name) => name.replace(/^\.\//, ''));
  };
  const unpacked = async (bytes: Buffer) => {
    const path = join(bench.folder, 'layer.tar');
    await writeFile(path, bytes);
    return path;
  };
  const env = { CLAUDE_BOTTLE_REGISTRY_IMAGE: registryImage.name };
  const merged = await pack(['--registry', 'container'], env);
  assert.match(merged.stderr, /smolvm's merge can bring deleted files back/);
  assert.ok((await contentsOf(merged.path)).includes('srv/secret'));

  // The same image, so the same key: what smolvm merged must not pass for what we flattened.
  const flat = await pack([]);
  assert.equal(flat.cached, false);
  const names = await contentsOf(flat.path);
  assert.ok(names.includes('srv/kept'));
  assert.ok(!names.includes('srv/secret'));
});

test('push and save give one digest, and an output is a whole copy that replaces nothing', async () => {
  const same = new Set<string>();
  for (const feeder of ['push', 'save']) {
    await run('rm', ['-rf', join(bench.root, 'layouts')]);
    const made = await pack(['--format', 'oci', '--feeder', feeder]);
    assert.equal(made.feeder, feeder);
    same.add(made.manifestDigest);
  }
  assert.equal(same.size, 1);

  const output = join(bench.folder, 'out');
  const copied = await pack(['--format', 'oci', '--output', output]);
  assert.equal(copied.path, output);
  assert.ok((await stat(join(output, 'index.json'))).isFile());
  const refused = await bench.run(['pack', bench.project, '--format', 'oci', '--output', output]);
  assert.equal(refused.code, 2);
});
