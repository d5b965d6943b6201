import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import * as v from 'valibot';
import { isProvablyDead } from '../../src/process/owner.ts';
import { Leftover, Scratch } from '../../src/process/scratch.ts';
import { type PackFailureCause, SmolvmPackFailed } from '../../src/smolvm/errors.ts';
import { findSmolvm, type Smolvm } from '../../src/smolvm/find.ts';
import { machinesBelow } from '../../src/smolvm/vm-processes.ts';
import type { PackProgress } from '../../src/smolvm/output.ts';
import { type PackOptions, packCreate, packLeftovers } from '../../src/smolvm/pack.ts';
import { filesOf, readArtifact } from './artifact.ts';
import { double, smolvm as runDouble, versions } from './double.ts';
import { layerOf, password, TestRegistry } from './registry.ts';

type Env = Record<string, string | undefined>;

let registry: TestRegistry;
let image: Awaited<ReturnType<TestRegistry['push']>>;
let layer: Buffer;
let directory: string;
let scratch: Scratch;

before(async () => {
  registry = await TestRegistry.start();
  layer = await layerOf({ 'etc/hostname': 'bottle\n', 'usr/bin/tool': 'x'.repeat(300_000) });
  image = await registry.push('claude-bottle', [layer], { config: { Cmd: ['sh'], Env: ['A=b'] } });
});
after(() => registry[Symbol.asyncDispose]());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-pack-'));
  scratch = await Scratch.create(join(directory, 'tmp'));
});
afterEach(async () => {
  await scratch[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

const find = (env: Env = {}): Promise<Smolvm> =>
  findSmolvm({ ...process.env, CLAUDE_BOTTLE_SMOLVM: double, ...env });

function pack(smolvm: Smolvm, env: Env = {}, options: Partial<PackOptions> = {}) {
  return packCreate(smolvm, {
    reference: image.reference,
    stub: join(directory, 'out'),
    registry: registry.credential,
    scratch,
    env: { ...process.env, ...env },
    ...options,
  });
}

/** What a pack wrote down as being outside of the scratch directory. */
async function journal(): Promise<Leftover[]> {
  const text = await readFile(scratch.file('leftovers.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => v.parse(Leftover, JSON.parse(line)));
}

/** Nothing remains: no file but the scratch directory's own, no directory outside, no process. */
async function assertNothingLeft(kept: readonly string[] = []): Promise<void> {
  const own = ['leftovers.jsonl', 'owner.json', 'smolvm.toml'];
  assert.deepEqual(
    (await readdir(scratch.path)).filter((name) => !own.includes(name)),
    [],
  );
  assert.deepEqual(
    (await readdir(directory)).filter((name) => name !== 'tmp' && !kept.includes(name)),
    [],
  );
  for (const leftover of await journal()) {
    if (leftover.kind === 'process-group') assert.ok(await isProvablyDead(leftover.owner));
    if (leftover.kind === 'directory') await assert.rejects(stat(leftover.path), { code: 'ENOENT' });
  }
}

async function failure(promise: Promise<unknown>): Promise<SmolvmPackFailed['fields']> {
  const error = await promise.then(
    () => assert.fail('it did not fail'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof SmolvmPackFailed, String(error));
  return error.fields;
}

describe('packing an image', () => {
  for (const version of versions) {
    test(`with ${version} gives an artifact that it accepts, and leaves nothing else`, async () => {
      const env = { FAKE_SMOLVM_VERSION: version };
      const progress: PackProgress[] = [];
      const { artifact } = await pack(await find(env), env, { onProgress: (each) => progress.push(each) });
      assert.equal(artifact, join(directory, 'out.smolmachine'));
      const info = await runDouble(['pack', 'run', '--sidecar', artifact, '--info'], env);
      assert.equal(info.code, 0, info.stderr);
      assert.match(info.stdout, new RegExp(`Digest: +${image.configDigest}`));
      const phases = new Set(progress.map(({ phase }) => phase));
      assert.deepEqual(
        [...phases],
        ['starting', 'pulling', 'pulled', 'collecting', 'exporting', 'assembling', 'packed'],
      );
      await assertNothingLeft(['out.smolmachine']);
    });
  }

  test('works from a directory too deep for a socket', async () => {
    const root = join(directory, 'tmp', 'd'.repeat(120));
    await using deep = await Scratch.create(root);
    const env = { FAKE_SMOLVM_VERSION: '1.0.2' };
    await pack(await find(env), env, { scratch: deep });
    const noted = await readFile(deep.file('leftovers.jsonl'), 'utf8');
    assert.match(noted, /"kind":"directory","path":"\/(var\/)?tmp\/claude-bottle-[0-9a-f]{8}"/);
    await rm(root, { recursive: true });
  });

  test('refuses before booting anything what the release cannot export', async () => {
    const env = { FAKE_SMOLVM_VERSION: '1.5.0' };
    const fields = await failure(pack(await find(env), env, { layerBytes: 5 * 1024 ** 3 }));
    assert.equal(fields.cause, 'too-large');
    assert.deepEqual(await readdir(directory), ['tmp']);
  });
});

describe("smolvm's child environment", () => {
  let recorder: string;
  beforeEach(async () => {
    recorder = join(directory, 'recorder');
    const dump = join(directory, 'tmp', 'dump');
    await mkdir(dump);
    // Notes what it was given, and the configuration file as it was at that time.
    const script = `#!/bin/sh
if [ "$1" = pack ]; then
  env > ${dump}/env; pwd > ${dump}/cwd; printf '%s\\n' "$@" > ${dump}/args; cp "$SMOLVM_CONFIG" ${dump}/config
fi
exec ${double} "$@"
`;
    await writeFile(recorder, script);
    await chmod(recorder, 0o755);
  });

  async function record(env: Env) {
    await pack(await find({ ...env, CLAUDE_BOTTLE_SMOLVM: recorder }), env);
    const dump = join(directory, 'tmp', 'dump');
    const [variables = '', args = '', config = '', cwd = ''] = await Promise.all(
      ['env', 'args', 'config', 'cwd'].map((name) => readFile(join(dump, name), 'utf8')),
    );
    const entries = variables.split('\n').map((line): [string, string] => {
      const at = line.indexOf('=');
      return [line.slice(0, at), line.slice(at + 1)];
    });
    return {
      env: Object.fromEntries(entries) as Env,
      args: args.trim().split('\n'),
      config,
      cwd: cwd.trim(),
    };
  }

  test('holds the password, which is neither on the command line nor on disk', async () => {
    const { env, args, config } = await record({});
    assert.deepEqual(args, ['pack', 'create', '--image', image.reference, '-o', join(directory, 'out')]);
    const [, variable = ''] = /^password_env = "(\w+)"$/m.exec(config) ?? [];
    assert.equal(env[variable], password);
    assert.ok(!config.includes(password));
    assert.match(config, new RegExp(`^\\[images\\.registries\\."${registry.host}"\\]$`, 'm'));
    const files = (await readdir(scratch.path, { recursive: true, withFileTypes: true })).filter((each) =>
      each.isFile(),
    );
    for (const file of files) {
      assert.ok(!(await readFile(join(file.parentPath, file.name), 'utf8')).includes(password), file.name);
    }
  });

  test('lacks what would cut the machine off from our loopback', async () => {
    const { env } = await record({
      SMOLVM_PUBLISH_ADDR: '0.0.0.0',
      SMOLVM_GUEST_HOST_SERVICE: '1',
      NO_PROXY: 'corp',
    });
    assert.equal(env.SMOLVM_PUBLISH_ADDR, undefined);
    assert.equal(env.SMOLVM_GUEST_HOST_SERVICE, undefined);
    assert.equal(env.NO_PROXY, 'corp,127.0.0.1,localhost');
    assert.equal(env.no_proxy, env.NO_PROXY);
  });

  test('keeps its work where it can be found again, and its directory neutral', async () => {
    const { env, cwd } = await record({});
    assert.ok(env.TMPDIR?.startsWith(`${scratch.path}/`));
    assert.ok(env.SMOLVM_PACK_STAGING?.startsWith(`${scratch.path}/`));
    assert.ok(
      (await journal()).some((each) => each.kind === 'directory' && each.path === env.XDG_CACHE_HOME),
    );
    assert.ok(cwd.startsWith(`${scratch.path}/`));
  });

  test('gives up its cache directory even if the user moved all of smolvm elsewhere', async () => {
    const root = join(directory, 'tmp', 'data');
    const { env } = await record({ SMOLVM_DATA_DIR: root, XDG_DATA_HOME: '/elsewhere' });
    assert.equal(env.SMOLVM_DATA_DIR, undefined);
    assert.equal(env.HOME, root);
    assert.equal(env.XDG_DATA_HOME, undefined);
    await assert.rejects(stat(root), { code: 'ENOENT' });
  });

  test('goes through no proxy to our registry', async () => {
    const dead = 'http://127.0.0.1:9';
    await record({ HTTP_PROXY: dead, HTTPS_PROXY: dead, ALL_PROXY: dead });
  });
});

describe('a pack that fails', () => {
  const causes: readonly (readonly [PackFailureCause, RegExp, Env])[] = [
    ['no-kvm', /kvm not available: .*\nTry: sudo modprobe kvm/, { FAKE_SMOLVM_KVM: 'missing' }],
    ['kvm-permission', /kvm permission denied/, { FAKE_SMOLVM_KVM: 'denied' }],
    ['no-space', /No space left on device/, { FAKE_SMOLVM_FAIL: 'no-space' }],
    ['blob', /crane blob failed for layer sha256:/, { FAKE_SMOLVM_FAIL: 'blob' }],
    ['timeout', /timed out after 600s/, { FAKE_SMOLVM_FAIL: 'timeout' }],
  ];
  for (const [cause, quote, env] of causes) {
    for (const version of ['0.8.0', '1.9.3']) {
      test(`of ${cause} says so with ${version}'s words, and leaves nothing`, async () => {
        const all = { ...env, FAKE_SMOLVM_VERSION: version };
        const fields = await failure(pack(await find(all), all));
        assert.equal(fields.cause, cause);
        assert.match(fields.quote, quote);
        assert.match(fields.quote, /^Error: /);
        assert.equal(fields.version, version);
        assert.equal(fields.reference, image.reference);
        await assertNothingLeft();
      });
    }
  }

  test('of a wrong credential says so', async () => {
    const wrong = { ...registry.credential, password: 'wrong' };
    assert.equal((await failure(pack(await find(), {}, { registry: wrong }))).cause, 'auth');
    await assertNothingLeft();
  });

  test('of an image that is not there says so', async () => {
    const reference = `${registry.host}/claude-bottle:missing`;
    assert.equal((await failure(pack(await find(), {}, { reference }))).cause, 'manifest');
  });

  test('of a layer that the registry lost says so', async () => {
    const lost = await registry.push('lost', [await layerOf({ a: 'lost' })], { breakLayer: true });
    const fields = await failure(pack(await find(), {}, { reference: lost.reference }));
    assert.equal(fields.cause, 'blob');
    assert.match(fields.quote, /BLOB_UNKNOWN|blob unknown/);
  });

  test('of an uncompressed layer before 1.5.0 says so, and does not fail after', async () => {
    const plain = await registry.push('plain', [layer], { compression: 'none' });
    for (const version of versions) {
      const env = { FAKE_SMOLVM_VERSION: version };
      const smolvm = await find(env);
      const packed = pack(smolvm, env, { reference: plain.reference });
      if (smolvm.can('plainLayers')) await packed;
      else assert.equal((await failure(packed)).cause, 'blob');
    }
  });

  test('of an output name with the suffix is refused for every release', async () => {
    for (const version of ['1.5.0', '1.9.3']) {
      const env = { FAKE_SMOLVM_VERSION: version };
      const stub = join(directory, 'out.smolmachine');
      assert.equal((await failure(pack(await find(env), env, { stub }))).cause, 'output-name');
      assert.deepEqual(await readdir(directory), ['tmp']);
    }
  });

  test('of its deadline is killed, and leaves nothing', async () => {
    const env = { FAKE_SMOLVM_FAIL: 'hang' };
    const fields = await failure(pack(await find(), env, { deadlineMs: 1500 }));
    assert.equal(fields.cause, 'timeout');
    await assertNothingLeft();
  });
});

describe('an interrupted pack', () => {
  for (const version of versions) {
    test(`with ${version} leaves no process and no directory, and had written both down before`, async () => {
      const env = { FAKE_SMOLVM_VERSION: version, FAKE_SMOLVM_FAIL: 'hang' };
      const abort = new AbortController();
      const reason = new Error('interrupted');
      let running: Leftover[] = [];
      const packed = pack(await find(env), env, {
        signal: abort.signal,
        onProgress: ({ phase }) => {
          if (phase === 'starting') void noted().finally(() => abort.abort(reason));
        },
      });
      // The CLI, its machine, and the machine's directory: all that a successor needs if we are killed now.
      const noted = async () => {
        do running = await journal().catch(() => []);
        while (running.length < 3);
        const place = running.find((each) => each.kind === 'directory');
        const machines = place?.kind === 'directory' ? await machinesBelow(place.path) : [];
        assert.deepEqual(
          running.flatMap((each) => (each.kind === 'process-group' ? [each.owner.pid] : [])).slice(1),
          machines.map(({ pid }) => pid),
        );
      };
      await assert.rejects(packed, reason);
      assert.deepEqual(
        running.map(({ kind }) => kind),
        ['directory', 'process-group', 'process-group'],
      );
      await assertNothingLeft();
    });
  }

  test('before it began starts nothing', async () => {
    const reason = new Error('interrupted');
    await assert.rejects(pack(await find(), {}, { signal: AbortSignal.abort(reason) }), reason);
    await assertNothingLeft();
  });

  test('tells what may remain where smolvm keeps its files out of our reach', async () => {
    const { version } = await find();
    assert.deepEqual(packLeftovers(version, 'linux', '/home/me'), []);
    assert.match(
      packLeftovers(version, 'darwin', '/Users/me').join('\n'),
      /\/Users\/me\/Library\/Caches\/smolvm\/vms/,
    );
  });
});

test('the layer that was packed is the layer that was pushed, file by file', async () => {
  const { artifact } = await pack(await find());
  const { layers } = await readArtifact(artifact);
  assert.equal(layers.length, 1);
  assert.deepEqual(await filesOf(layers[0]!.bytes), await filesOf(layer));
});
