import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from '../../src/process/run.ts';
import { double } from '../smolvm/double.ts';

// What a person types wrong, and what the machine lacks: each gets a message that says what to do, and its exit code.

const launcher = new URL('../../bin/launch.cjs', import.meta.url).pathname;
let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bad-input-'));
  await mkdir(join(folder, 'empty'));
  await mkdir(join(folder, 'broken'));
  await writeFile(join(folder, 'broken/Dockerfile'), 'FROM debian:bookworm-slim\nRUN echo before && false\n');
  await writeFile(join(folder, 'file'), '');
  await writeFile(
    join(folder, 'celesto'),
    '#!/bin/sh\necho "smolvm 0.0.14 - Firecracker microVMs for AI agents"\n',
  );
  await chmod(join(folder, 'celesto'), 0o755);
});
after(() => rm(folder, { recursive: true, force: true }));

interface Case {
  readonly name: string;
  readonly args: readonly string[];
  readonly env?: Record<string, string | undefined>;
  readonly code: number;
  readonly says: readonly RegExp[];
}

const cases: readonly Case[] = [
  {
    name: 'no Dockerfile',
    args: ['pack', 'EMPTY'],
    code: 2,
    says: [/there is no Dockerfile at .*empty\/Dockerfile/, /--dockerfile/],
  },
  {
    name: 'no such directory',
    args: ['pack', 'EMPTY/nowhere'],
    code: 2,
    says: [/there is no directory .*nowhere/],
  },
  {
    name: 'a build that fails',
    args: ['pack', 'BROKEN'],
    code: 2,
    says: [
      /building .*Dockerfile failed at step 2\/2: RUN echo before && false/,
      /non-zero code: 1/,
      /--verbose/,
    ],
  },
  {
    name: 'an unknown image',
    args: ['pack', '--image', 'nobody/has-this:1'],
    code: 2,
    says: [/the engine has no image nobody\/has-this:1/, /docker pull nobody\/has-this:1/],
  },
  {
    name: 'a cache directory that is a file',
    args: ['pack', 'EMPTY'],
    env: { XDG_CACHE_HOME: 'FILE' },
    code: 3,
    says: [/the cache directory .* cannot be used: it is not a directory/, /XDG_CACHE_HOME/],
  },
  {
    name: 'an output that exists',
    args: ['pack', 'EMPTY', '--output', 'FILE'],
    code: 2,
    says: [/exists already, and nothing is ever overwritten/],
  },
  {
    name: 'an output where nothing can be',
    args: ['pack', 'EMPTY', '--output', 'EMPTY/no/where'],
    code: 2,
    says: [/cannot write .*where/],
  },
  {
    name: "CelestoAI's smolvm",
    args: ['pack', 'EMPTY'],
    env: { CLAUDE_BOTTLE_SMOLVM: 'CELESTO' },
    code: 3,
    says: [/another program of the same name, not the smolvm of smol-machines/, /CLAUDE_BOTTLE_SMOLVM=/],
  },
  {
    name: 'a registry image that cannot be pulled',
    args: ['pack', '--image', 'debian:bookworm-slim', '--registry', 'container'],
    env: { CLAUDE_BOTTLE_REGISTRY_IMAGE: 'localhost:1/registry:none' },
    code: 3,
    says: [
      /the registry image localhost:1\/registry:none is not in the engine and cannot be pulled/,
      /--registry embedded/,
    ],
  },
  {
    name: 'no engine',
    args: ['pack', 'EMPTY'],
    env: { CLAUDE_BOTTLE_ENGINE: 'no-such-engine' },
    code: 3,
    says: [/there is no no-such-engine on this host/, /apt-get install docker\.io/],
  },
  {
    name: 'an engine that does not answer',
    args: ['pack', 'EMPTY'],
    env: { DOCKER_HOST: 'unix:///nowhere/docker.sock' },
    code: 3,
    says: [/no engine answers at unix:\/\/\/nowhere\/docker\.sock/, /start it/],
  },
  {
    name: 'an unknown flag',
    args: ['pack', '--bogus'],
    code: 2,
    says: [/unknown option '--bogus'/, /pack --help/],
  },
  { name: 'an unknown command', args: ['pakc'], code: 2, says: [/did you mean pack\?/] },
  {
    name: 'both an image and a directory',
    args: ['pack', 'EMPTY', '--image', 'x'],
    code: 2,
    says: [/--image names an image that exists/],
  },
  {
    name: 'a build argument without a value',
    args: ['pack', 'EMPTY', '--build-arg', '1=secret-value'],
    code: 2,
    says: [/--build-arg cannot be "1"/],
  },
  {
    name: 'an unknown registry in the environment',
    args: ['pack', 'EMPTY'],
    env: { CLAUDE_BOTTLE_REGISTRY: 'both' },
    code: 2,
    says: [/CLAUDE_BOTTLE_REGISTRY cannot be "both"/, /embedded or container/],
  },
  { name: 'a prune without a rule', args: ['cache', 'prune'], code: 2, says: [/needs to know what may go/] },
  {
    name: 'a prune by nonsense',
    args: ['cache', 'prune', '--keep', 'few'],
    code: 2,
    says: [/--keep cannot be "few"/],
  },
];

for (const { name, args, env = {}, code, says } of cases) {
  test(`${name}: exit ${code}, and the message says what to do`, async () => {
    const place = (text: string | undefined) =>
      text
        ?.replace('EMPTY', join(folder, 'empty'))
        .replace('BROKEN', join(folder, 'broken'))
        .replace('FILE', join(folder, 'file'))
        .replace('CELESTO', join(folder, 'celesto'));
    const result = await run(process.execPath, [launcher, ...args.map((arg) => place(arg) ?? arg)], {
      env: {
        PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
        XDG_CACHE_HOME: join(folder, 'cache'),
        CLAUDE_BOTTLE_SMOLVM: double,
        CLAUDE_BOTTLE_IMAGE: 'claude-bottle-bad-input:latest',
        ...Object.fromEntries(Object.entries(env).map(([key, value]) => [key, place(value)])),
      },
    });
    assert.equal(result.code, code, result.stderr);
    assert.equal(result.stdout, '', 'nothing on standard output');
    for (const expected of says) assert.match(result.stderr, expected);
    assert.match(result.stderr, /^error: /m);
    assert.match(result.stderr, /^→ /m, 'a hint');
    assert.doesNotMatch(result.stderr, /secret-value|a bug in claude-bottle|\n {4}at /);
    const left = await readdir(join(folder, 'cache/claude-bottle/tmp')).catch(() => []);
    assert.deepEqual(left, [], 'nothing left behind');
  });
}

test('an image for another platform is refused before anything heavy, and fine as a layout', async () => {
  const tag = 'claude-bottle-other-platform:latest';
  const foreign = process.arch === 'x64' ? 'arm64' : 'amd64';
  await importForeign(tag, foreign);
  const pack = (...args: string[]) =>
    run(process.execPath, [launcher, 'pack', '--image', tag, ...args], {
      env: { XDG_CACHE_HOME: join(folder, 'cache'), CLAUDE_BOTTLE_SMOLVM: double },
    });
  try {
    const refused = await pack();
    assert.equal(refused.code, 2, refused.stderr);
    assert.match(refused.stderr, new RegExp(`is an image for linux/${foreign}, and this host is linux/`));
    const layout = await pack('--format', 'oci');
    assert.equal(layout.code, 0, layout.stderr);
  } finally {
    await run('docker', ['rmi', '-f', tag]);
  }
});

/** Loads an image of one empty layer that says it is for another architecture. */
async function importForeign(tag: string, architecture: string): Promise<void> {
  const place = join(folder, 'foreign');
  await mkdir(place);
  const layer = Buffer.alloc(1024);
  const digest = createHash('sha256').update(layer).digest('hex');
  const config = { architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] } };
  await writeFile(join(place, 'layer.tar'), layer);
  await writeFile(join(place, 'config.json'), JSON.stringify(config));
  const manifest = [{ Config: 'config.json', RepoTags: [tag], Layers: ['layer.tar'] }];
  await writeFile(join(place, 'manifest.json'), JSON.stringify(manifest));
  const loaded = await run('sh', ['-c', 'tar -c -C "$0" . | docker load', place]);
  assert.equal(loaded.code, 0, loaded.stderr);
}

test('a read-only cache is told, and answers no pack with a stack trace', async () => {
  const cache = join(folder, 'read-only');
  await mkdir(cache);
  const mounted = await run('mount', ['-t', 'tmpfs', '-o', 'ro,size=1m', 'tmpfs', cache]);
  assert.equal(mounted.code, 0, mounted.stderr);
  try {
    const { code, stderr } = await run(process.execPath, [launcher, 'pack', join(folder, 'broken')], {
      env: { XDG_CACHE_HOME: cache, CLAUDE_BOTTLE_SMOLVM: double },
    });
    assert.equal(code, 3, stderr);
    assert.match(stderr, /its file system is read-only/);
  } finally {
    await run('umount', [cache]);
  }
});
