import assert from 'node:assert/strict';
import { once } from 'node:events';
import { access, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { House } from './house.ts';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A host that a bottle could name: programs send nothing for 127.0.0.1 to a proxy, and all of these. */
async function host(address: string, answer: Answer) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    answer(request, response);
  }).listen(0, address);
  await once(server, 'listening');
  return {
    authority: `${address}:${(server.address() as AddressInfo).port}`,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** An image of Debian's base system with these lines at its end. */
async function imageWith(lines: string) {
  const directory = await mkdtemp(join(tmpdir(), 'presets-'));
  await writeFile(join(directory, 'Dockerfile'), `FROM debian:bookworm-slim\n${lines}`);
  const built = await run('docker', ['build', '--quiet', directory], { env: { DOCKER_BUILDKIT: '0' } });
  await rm(directory, { recursive: true, force: true });
  assert.equal(built.code, 0, built.stderr);
  const id = built.stdout.trim();
  return {
    id,
    async [Symbol.asyncDispose]() {
      await run('docker', ['image', 'rm', '--force', id]);
    },
  };
}

interface Decision {
  readonly event: string;
  readonly decision?: string;
  readonly host?: string;
  readonly port?: number;
}

/** What the gate decided for a bottle's requests, without those of the seal check. */
async function decisions(house: House, slug: string): Promise<string[]> {
  const { stdout } = await house.bottle(['logs', slug, '--gate', '--json']);
  const lines = stdout.trim().split('\n');
  return lines
    .map((line) => JSON.parse(line) as Decision)
    .filter(({ event, host: name = '' }) => event === 'request' && name.startsWith('127.'))
    .map(({ decision, host: name, port }) => `${decision} ${name}:${port}`);
}

async function started(house: House, image: string, flags: readonly string[]): Promise<string> {
  const args = ['start', '--yes', '--no-workspace', '--detach', `--image=${image}`, ...flags];
  const { code, stdout, stderr } = await house.bottle([...args, '--', 'sleep', '300']);
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

test('preset debian: apt-get update goes through the gate to the mirror of the image, and nowhere else', async () => {
  await using mirror = await host('127.0.0.2', (request, response) => {
    const names: Readonly<Record<string, string>> = {
      '/debian/./Release': 'Origin: Test\nSuite: test\nArchitectures: amd64 arm64\n',
      '/debian/./Packages':
        'Package: brought\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@example.org>\nFilename: ./brought.deb\nSize: 4\nDescription: x\n',
    };
    const body = names[request.url ?? ''];
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  await using other = await host('127.0.0.3', (_, response) => void response.end('x'));
  await using image = await imageWith(
    `RUN rm -f /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] http://${mirror.authority}/debian ./' >/etc/apt/sources.list\n`,
  );
  await using house = await House.build();
  const slug = await started(house, image.id, ['--preset=debian', '--user=root']);
  const inside = (...argv: string[]) => house.bottle(['exec', slug, '--', ...argv]);

  const updated = await inside('apt-get', 'update', '-o', 'Acquire::Retries=0');
  assert.equal(updated.code, 0, updated.stdout + updated.stderr);
  assert.match((await inside('apt-cache', 'policy', 'brought')).stdout, /Candidate: 1\.0/);
  assert.ok(mirror.asked.includes('GET /debian/./Packages'), mirror.asked.join());

  // A source that the agent adds itself opens nothing: the image was read before it ran.
  await inside(
    'sh',
    '-c',
    `echo 'deb [trusted=yes] http://${other.authority}/debian ./' >/etc/apt/sources.list.d/own.list`,
  );
  const refused = await inside('apt-get', 'update', '-o', 'Acquire::Retries=0');
  assert.match(refused.stdout + refused.stderr, new RegExp(`${other.authority}.*[^]*403`));
  assert.deepEqual(other.asked, []);
  const found = await decisions(house, slug);
  assert.ok(found.includes(`allow ${mirror.authority}`), found.join());
  assert.ok(found.includes(`deny ${other.authority}`), found.join());
  assert.ok(
    found.every((one) => one === `allow ${mirror.authority}` || one === `deny ${other.authority}`),
    found.join(),
  );
  await house.bottle(['stop', slug, '--grace=1s']);
});

/** This host's npm, if it lies in one directory. */
async function npmDirectory(): Promise<string | undefined> {
  const found = await run('sh', ['-c', 'command -v npm']);
  const directory = dirname(dirname(await realpath(found.stdout.trim() || '/nowhere').catch(() => '/a/b')));
  return await access(join(directory, 'node_modules/semver')).then(
    () => directory,
    () => undefined,
  );
}

const npm = await npmDirectory();

test(
  'preset npm: npm view goes through the gate to the registry of the image, and what it links to elsewhere does not',
  { skip: npm === undefined && 'npm of this host does not lie in one directory' },
  async () => {
    await using elsewhere = await host('127.0.0.3', (_, response) => void response.end('x'));
    await using registry = await host('127.0.0.2', (request, response) => {
      if (request.url !== '/brought') return void response.writeHead(404).end('{}');
      const dist = { tarball: `http://${elsewhere.authority}/brought.tgz`, shasum: '0'.repeat(40) };
      const versions = { '1.2.3': { name: 'brought', version: '1.2.3', dist } };
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ name: 'brought', 'dist-tags': { latest: '1.2.3' }, versions }));
    });
    await using image = await imageWith(
      `RUN useradd --create-home agent && echo 'registry=http://${registry.authority}/' >/home/agent/.npmrc && chown agent /home/agent/.npmrc\nUSER agent\n`,
    );
    await using house = await House.build();
    const node = await realpath(process.execPath);
    const mounts = [`--mount=${node}:ro`, `--mount=${npm ?? ''}:ro`];
    const slug = await started(house, image.id, ['--preset=npm', ...mounts]);
    const inside = (...args: string[]) =>
      house.bottle([
        'exec',
        slug,
        '--',
        node,
        join(npm ?? '', 'bin/npm-cli.js'),
        '--fetch-retries=0',
        ...args,
      ]);

    const viewed = await inside('view', 'brought', 'version');
    assert.deepEqual([viewed.code, viewed.stdout.trim()], [0, '1.2.3'], viewed.stderr);
    const packed = await inside('pack', 'brought', '--pack-destination=/tmp');
    assert.notEqual(packed.code, 0);
    assert.match(packed.stderr, /403/);
    assert.ok(registry.asked.includes('GET /brought'), registry.asked.join());
    assert.deepEqual(elsewhere.asked, []);
    const found = new Set(await decisions(house, slug));
    assert.deepEqual(found, new Set([`allow ${registry.authority}`, `deny ${elsewhere.authority}`]));
    await house.bottle(['stop', slug, '--grace=1s']);
  },
);
