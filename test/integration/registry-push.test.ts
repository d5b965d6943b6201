import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { FedImage } from '../../src/oci/image.ts';
import { LayerStore } from '../../src/oci/layer-store.ts';
import type { Credential } from '../../src/oci/registry/credential.ts';
import { EmbeddedRegistry } from '../../src/oci/registry/embedded-registry.ts';
import { run } from '../../src/process/run.ts';
import { listens } from '../oci/registry/ask.ts';
import { client } from '../tools/clients.ts';

const layerBytes = 8 << 20;
const nonce = randomBytes(4).toString('hex');
let root: string;

async function must(command: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command, args);
  assert.equal(code, 0, `${command} ${args.join(' ')}: ${stderr || stdout}`);
  return stdout;
}

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'registry-push-'));
});
after(() => rm(root, { recursive: true, force: true }));

/** A build context whose image has a layer for each name; the last may be changed by writing it again. */
async function contextOf(name: string, files: readonly string[], base: string): Promise<string> {
  const directory = join(root, name);
  await mkdir(directory);
  for (const file of files) await writeFile(join(directory, file), randomBytes(layerBytes));
  const steps = files.map((file) => `COPY ${file} /${file}\n`).join('');
  await writeFile(join(directory, 'Dockerfile'), `FROM ${base}\n${steps}CMD ["/none"]\n`);
  return directory;
}

/** Receives one push on a port of its own into the store. */
async function receive(
  store: LayerStore,
  push: (registry: EmbeddedRegistry, writer: Credential) => Promise<void>,
): Promise<{ image: FedImage; arrived: number }> {
  const scratch = await mkdtemp(join(root, 'scratch-'));
  const registry = await EmbeddedRegistry.start({ repository: 'claude-bottle', tag: nonce });
  try {
    let arrived = 0;
    await using receiver = registry.receive({ store, scratch, onBytes: (n) => (arrived += n) });
    await push(registry, receiver.writer);
    const image = await receiver.image({ os: 'linux', architecture: 'amd64' });
    assert.equal(receiver.failure, undefined);
    return { image, arrived };
  } finally {
    await registry[Symbol.asyncDispose]();
    assert.deepEqual(await readdir(scratch), []);
    assert.equal(await listens(registry.port), false);
  }
}

interface Pusher {
  /** Builds and returns the image's id. */
  build(context: string, tag: string): Promise<string>;
  layers(id: string): Promise<string[]>;
  push(id: string, registry: EmbeddedRegistry, writer: Credential): Promise<void>;
}

function provesAPush(pusher: () => Pusher): void {
  test('an image arrives whole; again, nothing is sent; with one layer more, only that', async () => {
    const store = new LayerStore(await mkdtemp(join(root, 'layers-')));
    const { build, layers, push } = pusher();
    const base = await build(
      await contextOf(`base-${randomBytes(3).toString('hex')}`, ['one', 'two'], 'scratch'),
      'base',
    );
    const first = await receive(store, (registry, writer) => push(base, registry, writer));
    assert.deepEqual(first.image.layers, await layers(base));
    assert.equal(first.image.layers.length, 2);
    assert.deepEqual(first.image.config.config.Cmd, ['/none']);
    assert.ok(first.arrived > 2 * layerBytes, `${first.arrived} bytes`);
    for (const layer of first.image.layers) assert.equal(await store.verify(layer), 'ok');

    const second = await receive(store, (registry, writer) => push(base, registry, writer));
    assert.deepEqual(second.image, first.image);
    assert.ok(second.arrived < 64 * 1024, `${second.arrived} bytes were sent again`);

    const context = await contextOf(
      `child-${randomBytes(3).toString('hex')}`,
      ['three'],
      `localhost/registry-push-${nonce}:base`,
    );
    const child = await build(context, 'child');
    const third = await receive(store, (registry, writer) => push(child, registry, writer));
    assert.deepEqual(third.image.layers, await layers(child));
    assert.deepEqual(third.image.layers.slice(0, 2), first.image.layers);
    assert.ok(third.arrived > layerBytes && third.arrived < 1.1 * layerBytes, `${third.arrived} bytes`);
  });

  test('with a wrong password nothing arrives', async () => {
    const store = new LayerStore(await mkdtemp(join(root, 'layers-')));
    const { build, push } = pusher();
    const id = await build(
      await contextOf(`denied-${randomBytes(3).toString('hex')}`, ['one'], 'scratch'),
      'denied',
    );
    await assert.rejects(
      receive(store, (registry, { username }) => push(id, registry, { username, password: 'wrong' })),
    );
    assert.deepEqual(await store.list(), []);
  });
}

describe('docker pushes', () => {
  const socketPath = '/var/run/docker.sock';
  const tags: string[] = [];
  const docker = (...args: string[]) => must(client('docker'), args);

  /** The daemon wants base64url with its padding; without, it takes the header for absent. */
  function authHeader(credential: Credential): string {
    const text = Buffer.from(JSON.stringify(credential)).toString('base64');
    return text.replaceAll('+', '-').replaceAll('/', '_');
  }

  function api(method: string, path: string, credential: Credential): Promise<string> {
    return new Promise((resolve, reject) => {
      const headers = { 'X-Registry-Auth': authHeader(credential), Host: 'docker' };
      const outgoing = request({ socketPath, method, path, headers }, (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (chunk) => {
          text += chunk;
        });
        answer.on('end', () => resolve(text));
        answer.on('error', reject);
      });
      outgoing.on('error', reject);
      outgoing.end();
    });
  }

  after(async () => {
    for (const tag of tags) await run(client('docker'), ['image', 'rm', tag]);
  });

  provesAPush(() => ({
    async build(context, tag) {
      const name = `localhost/registry-push-${nonce}:${tag}`;
      tags.unshift(name);
      // With its cache, the classic builder fails when any other image goes meanwhile (20.10, image/cache/cache.go).
      await must(client('docker'), ['build', '--quiet', '--no-cache', '--tag', name, context]);
      return (await docker('image', 'inspect', '--format', '{{.Id}}', name)).trim();
    },
    layers: async (id) =>
      JSON.parse(await docker('image', 'inspect', '--format', '{{json .RootFS.Layers}}', id)),
    async push(id, registry, writer) {
      await docker('tag', id, registry.reference);
      try {
        const [name, tag] = [registry.reference.replace(/:[^:]+$/, ''), nonce];
        const answer = await api('POST', `/images/${name}/push?tag=${tag}`, writer);
        assert.doesNotMatch(answer, /"error"/);
      } finally {
        await docker('image', 'rm', registry.reference);
      }
    },
  }));

  test('and shows by a probe that its daemon shares our loopback', async () => {
    await using registry = await EmbeddedRegistry.start({ repository: 'claude-bottle', tag: 't' });
    using probe = registry.probe();
    assert.equal(probe.seen, false);
    await api('GET', `/distribution/${registry.host}/${probe.repository}:x/json`, probe.credential);
    assert.equal(probe.seen, true);
  });
});

describe('podman pushes', () => {
  // A store of its own, so that nothing of the machine's is touched; vfs needs no mount.
  const own = () => [
    ...['--root', join(root, 'podman'), '--runroot', join(root, 'podman-run')],
    ...['--tmpdir', join(root, 'podman-tmp'), '--storage-driver=vfs'],
  ];
  const podman = (...args: string[]) => must(client('podman'), [...own(), ...args]);
  after(() => podman('image', 'rm', '--all', '--force'));

  provesAPush(() => ({
    async build(context, tag) {
      const name = `localhost/registry-push-${nonce}:${tag}`;
      await podman('build', '--quiet', '--layers', '--tag', name, context);
      return (await podman('image', 'inspect', '--format', '{{.Id}}', name)).trim();
    },
    layers: async (id) =>
      JSON.parse(await podman('image', 'inspect', '--format', '{{json .RootFS.Layers}}', id)),
    async push(id, registry, { username, password }) {
      const auth = Buffer.from(`${username}:${password}`).toString('base64');
      const authFile = join(await mkdtemp(join(root, 'auth-')), 'auth.json');
      await writeFile(authFile, JSON.stringify({ auths: { [registry.host]: { auth } } }), { mode: 0o600 });
      const quiet = ['--quiet', '--tls-verify=false', '--authfile', authFile];
      await podman('push', ...quiet, id, `docker://${registry.reference}`);
    },
  }));
});
