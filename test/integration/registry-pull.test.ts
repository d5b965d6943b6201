import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Blob, FlatImage } from '../../src/oci/image.ts';
import type { Credential } from '../../src/oci/registry/credential.ts';
import { EmbeddedRegistry } from '../../src/oci/registry/embedded-registry.ts';
import { type RunOptions, run } from '../../src/process/run.ts';
import { fileBlob, flatImageOf, sha256 } from '../oci/registry/flat-image-of.ts';
import { client } from '../tools/clients.ts';

let root: string;
let layer: Blob & AsyncDisposable;
let image: FlatImage;
let registry: EmbeddedRegistry;
/** Both Docker's config.json and containers' auth.json. */
let authDirectory: string;
let authFile: string;
let expected: ReadonlyMap<string, string>;

async function must(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, { captureBytes: 16 << 20, ...options });
  assert.equal(code, 0, `${command} ${args.join(' ')}: ${stderr || stdout}`);
  return stdout;
}

/** What is in a tar: for each path its type and mode, owner, size, time, link and, of a file, its content. */
async function contentOf(tar: string): Promise<Map<string, string>> {
  const env = { LC_ALL: 'C', TZ: 'UTC', TAR_OPTIONS: undefined };
  const listing = await must('tar', ['--numeric-owner', '--full-time', '-tvf', tar], { env });
  const hashing = '--to-command=echo "$(sha256sum | cut -c1-64) $TAR_FILENAME"';
  const hashes = new Map<string, string>();
  for (const line of (await must('tar', ['-xf', tar, hashing], { env })).trim().split('\n')) {
    hashes.set(plain(line.slice(65)), line.slice(0, 64));
  }
  const content = new Map<string, string>();
  for (const line of listing.trim().split('\n')) {
    const match = /^(\S+) (\S+) +(\d+) (\S+ \S+) (.*)$/.exec(line);
    assert.ok(match, line);
    const [, mode = '', owner, size, time, rest = ''] = match;
    const [name = '', link] = rest.split(/ -> | link to /);
    const facts = [mode, owner, mode.startsWith('-') ? size : '', mode.startsWith('h') ? '' : time];
    const target = mode.startsWith('h') ? plain(link ?? '') : (link ?? '');
    content.set(plain(name), [...facts, target, hashes.get(plain(name)) ?? ''].join(' '));
  }
  return content;
}

function plain(path: string): string {
  return path.replace(/^\.?(\/+|$)/, '').replace(/\/+$/, '');
}

/** Every entry of the image is there as it was. `added` is what the client itself puts on top. */
function assertSame(actual: ReadonlyMap<string, string>, added: RegExp): void {
  const own = (content: ReadonlyMap<string, string>) =>
    Object.fromEntries([...content].filter(([path]) => path !== '' && !added.test(path)).sort());
  assert.deepEqual(own(actual), own(expected));
}

const nothing = /^$/;
const containerFiles = /^(\.dockerenv|dev|etc|proc|run|sys)(\/|$)/;

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'registry-pull-'));
  const tree = join(root, 'tree');
  const long = `opt/${'long-directory-name/'.repeat(7)}`;
  for (const directory of ['bin', 'share', 'home/user', 'tmp', long]) {
    await mkdir(join(tree, directory), { recursive: true });
  }
  const big = Buffer.alloc(20 << 20);
  for (let at = 0; at < big.length; at += 4) big.writeUInt32LE((at * 2654435761) >>> 0, at);
  await writeFile(join(tree, 'opt/big'), big);
  await writeFile(join(tree, 'share/motd'), 'hello\n');
  await writeFile(join(tree, 'share/empty'), '');
  await writeFile(join(tree, 'bin/tool'), '#!/bin/sh\n', { mode: 0o755 });
  await writeFile(join(tree, `${long}file`), 'deep\n');
  await must(
    'sh',
    [
      '-c',
      'ln bin/tool bin/zweit && ln -s ../share/motd home/user/link && chmod 4755 bin/tool && chmod 1777 tmp',
    ],
    {
      cwd: tree,
    },
  );
  const tar = join(root, 'layer.tar');
  const owners = ['--owner=1000', '--group=1001', '--numeric-owner', '--sort=name', '--mtime=@1700000000'];
  await must('tar', [...owners, '-C', tree, '-cf', tar, '.']);
  expected = await contentOf(tar);
  assert.ok(expected.size > 20);

  layer = await fileBlob(tar);
  image = flatImageOf(layer, { User: '1000', WorkingDir: '/home/user' });
  registry = await EmbeddedRegistry.start({ repository: 'claude-bottle', tag: 'flat' });
  registry.publish(image);
  authDirectory = join(root, 'auth');
  await mkdir(authDirectory);
  authFile = join(authDirectory, 'config.json');
  await writeFile(authFile, authFor(registry.reader), { mode: 0o600 });
});

after(async () => {
  await registry[Symbol.asyncDispose]();
  await layer[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

function authFor({ username, password }: Credential): string {
  const auth = Buffer.from(`${username}:${password}`).toString('base64');
  return JSON.stringify({ auths: { [registry.host]: { auth }, [`localhost:${registry.port}`]: { auth } } });
}

describe('a flat image is pulled by', () => {
  test('skopeo, with a credential file and with one on the command line', async () => {
    const { username, password } = registry.reader;
    const ways = [
      ['--src-authfile', authFile],
      ['--src-creds', `${username}:${password}`],
    ];
    for (const [n, way] of ways.entries()) {
      const to = join(root, `skopeo-${n}`);
      const from = `docker://${registry.reference}`;
      const insecure = '--src-tls-verify=false';
      await must(client('skopeo'), ['copy', '--insecure-policy', insecure, ...way, from, `dir:${to}`]);
      assert.deepEqual(await readFile(join(to, 'manifest.json')), image.manifest);
      const blob = join(to, layer.digest.slice('sha256:'.length));
      assertSame(await contentOf(blob), nothing);
    }
  });

  test('skopeo, which also inspects it and lists its tags', async () => {
    const auth = ['--tls-verify=false', '--authfile', authFile];
    const inspected = await must(client('skopeo'), ['inspect', ...auth, `docker://${registry.reference}`]);
    const { Digest, RepoTags, Layers } = JSON.parse(inspected);
    assert.deepEqual([Digest, RepoTags, Layers], [image.manifestDigest, ['flat'], [layer.digest]]);
  });

  test('crane: manifest, config, blob, export', async () => {
    const crane = (...args: string[]) =>
      must(client('crane'), args, { env: { DOCKER_CONFIG: authDirectory } });
    const repository = registry.reference.replace(/:flat$/, '');
    assert.equal((await crane('digest', registry.reference)).trim(), image.manifestDigest);
    for (const reference of [
      registry.reference,
      `${repository}@${image.manifestDigest}`,
      registry.reference.replace('127.0.0.1', 'localhost'),
    ]) {
      assert.equal(
        (await crane('manifest', '--platform', 'linux/amd64', reference)).trim(),
        image.manifest.toString(),
      );
    }
    assert.equal((await crane('config', registry.reference)).trim(), image.config.toString());
    assert.deepEqual((await crane('ls', repository)).trim(), 'flat');
    const shell = '"$0" blob "$1" >"$2"';
    const blob = join(root, 'crane-blob.tar');
    const env = { DOCKER_CONFIG: authDirectory };
    await must('sh', ['-c', shell, client('crane'), `${repository}@${layer.digest}`, blob], { env });
    assert.equal(sha256(await readFile(blob)), layer.digest);
    const exported = join(root, 'crane-export.tar');
    await crane('export', registry.reference, exported);
    assertSame(await contentOf(exported), nothing);
  });

  test('docker', async () => {
    const docker = (...args: string[]) => must(client('docker'), ['--config', authDirectory, ...args]);
    let id = '';
    try {
      await docker('pull', '--quiet', registry.reference);
      const [inspected] = JSON.parse(await docker('image', 'inspect', registry.reference));
      assert.equal(inspected.Id, image.configDigest);
      assert.deepEqual(inspected.RootFS.Layers, [layer.digest]);
      assert.deepEqual(inspected.RepoDigests, [
        `${registry.reference.replace(/:flat$/, '')}@${image.manifestDigest}`,
      ]);
      id = (await docker('create', registry.reference)).trim();
      const exported = join(root, 'docker.tar');
      await docker('export', '--output', exported, id);
      assertSame(await contentOf(exported), containerFiles);
    } finally {
      if (id !== '') await run(client('docker'), ['rm', '--force', id]);
      await run(client('docker'), ['image', 'rm', registry.reference]);
    }
  });

  test('podman', async () => {
    // A store of its own, so that nothing of the machine's is touched; vfs needs no mount.
    const store = join(root, 'podman');
    const own = [
      ...['--root', join(store, 'root'), '--runroot', join(store, 'run')],
      ...['--tmpdir', join(store, 'tmp'), '--storage-driver=vfs'],
    ];
    const podman = (...args: string[]) => must(client('podman'), [...own, ...args]);
    try {
      const quiet = ['--quiet', '--tls-verify=false', '--authfile', authFile];
      const id = (await podman('pull', ...quiet, registry.reference)).trim();
      assert.equal(`sha256:${id}`, image.configDigest);
      const container = (await podman('create', registry.reference)).trim();
      const exported = join(root, 'podman.tar');
      await podman('export', '--output', exported, container);
      assertSame(await contentOf(exported), containerFiles);
      await podman('rm', '--force', container);
    } finally {
      await run(client('podman'), [...own, 'image', 'rm', '--all', '--force']);
    }
  });

  test('microsandbox, insecure as its flag says, with the credential out of the Docker configuration', async () => {
    const env = { MSB_HOME: join(root, 'msb'), HOME: join(root, 'home'), DOCKER_CONFIG: authDirectory };
    await mkdir(env.HOME, { recursive: true });
    await must(client('msb'), ['pull', '--quiet', '--insecure', registry.reference], { env });
    // Its archive is made anew out of the file system it unpacked.
    const archive = join(root, 'msb.tar');
    await must(client('msb'), ['save', '--quiet', '--output', archive, registry.reference], { env });
    const unpacked = join(root, 'msb-archive');
    await mkdir(unpacked);
    await must('tar', ['-C', unpacked, '-xf', archive]);
    const layers = (await readdir(unpacked, { recursive: true })).filter((name) =>
      name.endsWith('layer.tar'),
    );
    assert.equal(layers.length, 1);
    assertSame(await contentOf(join(unpacked, layers[0]!)), nothing);
  });
});

describe('none of them gets it without the credential', () => {
  const clients: Record<string, () => [string, string[], RunOptions?]> = {
    skopeo: () => [
      'skopeo',
      ['inspect', '--tls-verify=false', '--no-creds', `docker://${registry.reference}`],
    ],
    crane: () => ['crane', ['manifest', registry.reference], { env: { DOCKER_CONFIG: join(root, 'none') } }],
    docker: () => ['docker', ['--config', join(root, 'none'), 'pull', registry.reference]],
    msb: () => [
      'msb',
      ['pull', '--insecure', registry.reference],
      { env: { MSB_HOME: join(root, 'msb-none'), HOME: root, DOCKER_CONFIG: join(root, 'none') } },
    ],
  };
  for (const [name, make] of Object.entries(clients)) {
    test(name, async () => {
      const [command, args, options] = make();
      const { code } = await run(client(command as 'docker'), args, options);
      assert.notEqual(code, 0);
    });
  }
});
