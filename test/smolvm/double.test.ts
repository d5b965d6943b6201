import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { stopMachinesBelow } from '../../src/smolvm/vm-processes.ts';
import { filesOf, readArtifact } from './artifact.ts';
import { double, smolvm, versions } from './double.ts';
import { type Compression, layerOf, password, TestRegistry, username } from './registry.ts';

let registry: TestRegistry;
let directory: string;
let env: Record<string, string>;

before(async () => {
  registry = await TestRegistry.start();
});
after(() => registry[Symbol.asyncDispose]());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-double-'));
  const config = join(directory, 'smolvm.toml');
  await writeFile(
    config,
    `[images.registries."${registry.host}"]\nusername = "${username}"\npassword_env = "SECRET"\n`,
  );
  const cache = join(directory, 'cache');
  await mkdir(cache);
  env = { SMOLVM_CONFIG: config, SECRET: password, XDG_CACHE_HOME: cache, SMOLVM_VM_UID_DROP: 'off' };
});
afterEach(async () => {
  await stopMachinesBelow(directory);
  await rm(directory, { recursive: true });
});

const out = () => join(directory, 'out');
const create = (reference: string, version: string, more: Record<string, string> = {}, args: string[] = []) =>
  smolvm(['pack', 'create', '--image', reference, '-o', out(), ...args], {
    ...env,
    FAKE_SMOLVM_VERSION: version,
    ...more,
  });

async function pushed(name: string, compression: Compression = 'gzip') {
  const layer = await layerOf({ 'etc/hostname': `${name}\n` });
  return { layer, ...(await registry.push(name, [layer], { compression })) };
}

describe('the arguments', () => {
  const usage: readonly (readonly [string, string[], RegExp])[] = [
    ['an unknown flag', ['pack', 'create', '--zap'], /unexpected argument '--zap' found/],
    ['an image as an operand', ['pack', 'create', 'alpine', '-o', 'x'], /unexpected argument 'alpine' found/],
    [
      'no output',
      ['pack', 'create', '--image', 'a'],
      /required arguments were not provided:\n {2}--output <PATH>/,
    ],
    ['no value', ['pack', 'create', '--image', '--output', 'x'], /a value is required for '--image <IMAGE>'/],
    ['a flag twice', ['pack', 'create', '-I', 'a', '-I', 'b', '-o', 'x'], /cannot be used multiple times/],
    [
      'a number too large',
      ['pack', 'create', '-Ia', '-ox', '--cpus=256'],
      /invalid value '256' for '--cpus <N>'/,
    ],
    ['no number', ['pack', 'create', '-Ia', '-ox', '--mem', '8G'], /invalid digit found in string/],
    ['two sources', ['pack', 'create', '-Ia', '--from-vm', 'b', '-ox'], /cannot be used with/],
    ['an unknown subcommand', ['pack', 'zap'], /unrecognized subcommand 'zap'/],
    ['nothing', [], /Usage: smolvm <COMMAND>/],
  ];
  for (const [what, args, words] of usage) {
    test(`with ${what} end with status 2 and clap's words`, async () => {
      const { code, stdout, stderr } = await smolvm(args);
      assert.equal(code, 2);
      assert.match(stderr, words);
      assert.equal(stdout, '');
    });
  }

  test('are those of the release', async () => {
    const first: readonly (readonly [string[], string])[] = [
      [['--proxy', 'http://x'], '1.0.2'],
      [['--staging-dir', '/x'], '1.5.0'],
      [['--rebase-from-image'], '1.5.0'],
    ];
    for (const [args, since] of first) {
      for (const version of versions) {
        // Refused for its flag (2), or for what the flag meets later on.
        const { stderr } = await smolvm(['pack', 'create', ...args], { FAKE_SMOLVM_VERSION: version });
        assert.equal(
          /unexpected argument/.test(stderr),
          versions.indexOf(since as '1.0.2') > versions.indexOf(version),
        );
      }
    }
    for (const version of versions) {
      const { stdout, code } = await smolvm(['machine', 'create', '--help'], {
        FAKE_SMOLVM_VERSION: version,
      });
      assert.equal(code, 0);
      assert.equal(/--name <NAME>/.test(stdout), version !== '0.8.0');
      assert.equal(/--mount-socket/.test(stdout), ['1.7.0', '1.8.1', '1.9.3'].includes(version));
    }
  });

  test('of what it does not play end with status 70 and say so', async () => {
    for (const args of [
      ['serve'],
      ['machine', 'start'],
      ['machine', 'create', '--net'],
      ['pack', 'push', 'a', '-f', 'b'],
      ['pack', 'run', '--', 'sh'],
      ['pack', 'create', '-Ia', '-ox', '--single-file'],
    ]) {
      const { code, stderr, stdout } = await smolvm(args);
      assert.deepEqual([code, stdout], [70, ''], args.join(' '));
      assert.match(stderr, /not part of this double/);
    }
    assert.equal((await smolvm(['--version'], { FAKE_SMOLVM_VERSION: '1.2.3' })).code, 70);
  });
});

describe('the artifact', () => {
  for (const version of versions) {
    test(`of ${version} has the published format and that release's names`, async () => {
      const { reference, layer, configDigest } = await pushed('format');
      const { code, stderr } = await create(reference, version);
      assert.equal(code, 0, stderr);
      const { crcHolds, manifest, entries, layers } = await readArtifact(`${out()}.smolmachine`);
      assert.ok(crcHolds);
      assert.equal(entries[0], 'agent-rootfs.tar');
      assert.match(
        entries[1] ?? '',
        version < '1.5' ? /^layers\/[0-9a-f]{12}\.tar$/ : /^layers\/[0-9a-f]{64}\.tar$/,
      );
      assert.equal(entries[2], 'storage.ext4');
      assert.deepEqual(await filesOf(layers[0]!.bytes), await filesOf(layer));
      assert.equal(manifest.digest, configDigest);
      assert.equal(manifest.image, reference);
      assert.equal(manifest.smolvm_version, version);
      assert.equal('cuda' in manifest, version >= '1.6');
      const stub = await readFile(out());
      assert.equal(stub.toString('latin1', stub.length - 32, stub.length - 24), 'SMOLLIBS');
    });
  }

  test('is refused by --info once it is cut or changed', async () => {
    const { reference } = await pushed('damaged');
    await create(reference, '1.9.3');
    const artifact = `${out()}.smolmachine`;
    const info = () => smolvm(['pack', 'run', '--sidecar', artifact, '--info']);
    assert.match((await info()).stdout, /Checksum: {3}[0-9a-f]{8}\n$/);
    const whole = await readFile(artifact);
    const flipped = Buffer.from(whole);
    flipped.writeUInt8(flipped.readUInt8(40) ^ 1, 40);
    await writeFile(artifact, flipped);
    assert.match((await info()).stderr, /^Error: agent operation failed: verify sidecar: checksum mismatch/);
    await writeFile(artifact, whole);
    await truncate(artifact, whole.length - 1);
    const cut = await info();
    assert.deepEqual([cut.code, cut.stdout], [1, '']);
    assert.match(cut.stderr, /invalid magic/);
  });

  test('gets the suffix twice before 1.7.0 and is refused since', async () => {
    const { reference } = await pushed('suffix');
    const args = ['pack', 'create', '-I', reference, '-o', `${out()}.smolmachine`];
    assert.equal((await smolvm(args, { ...env, FAKE_SMOLVM_VERSION: '1.5.0' })).code, 0);
    assert.ok((await stat(`${out()}.smolmachine.smolmachine`)).isFile());
    const refused = await smolvm(args, { ...env, FAKE_SMOLVM_VERSION: '1.7.0' });
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /--output names the executable stub/);
  });
});

describe('the pull', () => {
  for (const client of ['crane', 'skopeo']) {
    test(`is a real one, with ${client}`, async () => {
      const { reference } = await pushed('client');
      const { code, stdout, stderr } = await create(reference, '1.9.3', { FAKE_SMOLVM_CLIENT: client });
      assert.equal(code, 0, stderr);
      assert.match(stdout, /Image: \S+ \(1 layers, \d+ bytes\)\n/);
    });
  }

  const accepts: Readonly<Record<Compression, string>> = { gzip: '0.8.0', zstd: '1.5.0', none: '1.5.0' };
  for (const [compression, since] of Object.entries(accepts) as [Compression, string][]) {
    test(`takes ${compression} layers from ${since} on`, async () => {
      const { reference } = await pushed(`compression-${compression}`, compression);
      for (const version of versions) {
        const { code, stderr } = await create(reference, version);
        assert.equal(code, version >= since ? 0 : 1, `${version}: ${stderr}`);
        if (code === 1)
          assert.match(stderr, /tar extraction failed for layer sha256:\S+: tar: invalid magic/);
      }
    });
  }

  test('takes references by digest from 1.1.0 on', async () => {
    const { reference, manifestDigest } = await pushed('pinned');
    const pinned = `${reference.replace(/:test$/, '')}@${manifestDigest}`;
    assert.match((await create(pinned, '1.0.2')).stderr, /crane blob failed for layer/);
    assert.equal((await create(pinned, '1.5.0')).code, 0);
  });

  test('refuses a reference outside of the charset', async () => {
    for (const reference of ['[::1]:5000/a:b', 'a:b+c', '-a/b', `127.0.0.1:1/${'a'.repeat(600)}`]) {
      const { code, stderr } = await create(reference, '1.9.3', {}, []).catch(() => assert.fail());
      assert.ok(code === 1 || code === 2, reference);
      assert.match(stderr, /invalid image reference|a value is required/);
    }
  });

  test("knows no credential but smolvm's own", async () => {
    const { reference } = await pushed('credential');
    const docker = join(directory, 'docker');
    await mkdir(docker);
    const auth = Buffer.from(`${username}:${password}`).toString('base64');
    await writeFile(join(docker, 'config.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }));
    await writeFile(join(directory, 'empty.toml'), '');
    const { code, stderr } = await create(reference, '1.9.3', {
      DOCKER_CONFIG: docker,
      SMOLVM_CONFIG: join(directory, 'empty.toml'),
    });
    assert.equal(code, 1);
    assert.match(stderr, /unauthorized/i);
  });

  test('of several layers brings deleted files back; of one it does not', async () => {
    const lower = await layerOf({ 'secret/key': 'k', kept: '1' });
    const upper = await layerOf({ '.wh.secret': '', added: '2' });
    const { reference } = await registry.push('several', [lower, upper]);
    for (const version of versions) {
      const { code, stdout } = await create(reference, version);
      assert.equal(code, 0);
      assert.match(stdout, /Merging 2 layers in VM/);
      const files = await filesOf((await readArtifact(`${out()}.smolmachine`)).layers[0]!.bytes);
      assert.equal(files['secret/key'], 'k');
      // Before 1.1.0 the whiteout itself stays as a file.
      assert.equal('.wh.secret' in files, version < '1.1');
      assert.equal(files.added, '2');
    }
  });
});

describe('the noise', () => {
  test('is there without a terminal, and says done after a failure too', async () => {
    const { reference } = await pushed('noise');
    const good = await create(reference, '1.9.3');
    assert.match(good.stdout, /\r[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] Assembling packed binary\u001b\[K/);
    assert.match(good.stderr, /\rPulling image \S+\.\.\. \[={20}\] 100%/);
    const bad = await create(reference, '1.9.3', { FAKE_SMOLVM_FAIL: 'blob' });
    assert.equal(bad.code, 1);
    assert.match(
      bad.stderr,
      /\rPulling image \S+\.\.\. done\. {30}\nError: agent operation failed: pull image: /,
    );
  });
});

describe('the machine', () => {
  const machines = () => readdir(join(directory, 'cache', 'smolvm', 'vms')).catch(() => []);

  test('is gone after a pack, and after one that failed', async () => {
    const { reference } = await pushed('gone');
    for (const fail of ['', 'blob', 'timeout']) {
      await create(reference, '1.9.3', { FAKE_SMOLVM_FAIL: fail });
      assert.deepEqual(await machines(), []);
      assert.equal(await stopMachinesBelow(directory), 0);
    }
  });

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL'] as const) {
    test(`outlives a CLI that ${signal} ends, with its directory`, async () => {
      const { reference } = await pushed('orphan');
      const cli = spawn(double, ['pack', 'create', '-I', reference, '-o', out()], {
        env: { ...process.env, ...env, FAKE_SMOLVM_FAIL: 'hang' },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      await once(cli.stderr, 'data');
      cli.kill(signal);
      await once(cli, 'exit');
      const [name = ''] = await machines();
      assert.match(name, /^[0-9a-f]{16}$/);
      const pid = Number.parseInt(
        await readFile(join(directory, 'cache/smolvm/vms', name, 'agent.pid'), 'utf8'),
        10,
      );
      assert.equal(process.kill(pid, 0), true);
      assert.equal(await stopMachinesBelow(directory), 1);
    });
  }

  test('does not come up below a path too long for its socket', async () => {
    const cache = join(directory, 'c'.repeat(70));
    const { code, stderr } = await create('127.0.0.1:1/a:b', '1.9.3', { XDG_CACHE_HOME: cache });
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^Error: agent operation failed: wait for ready: agent did not become ready within 30 seconds/,
    );
  });

  test("does not come up for root behind a private directory since 1.2.5, unless it stays root's", async () => {
    assert.equal(process.geteuid?.(), 0, 'this property is about root; run the suite as root');
    const { reference } = await pushed('private');
    const runs = async (version: string, drop: string) =>
      (await create(reference, version, { SMOLVM_VM_UID_DROP: drop })).code;
    assert.deepEqual(
      [await runs('1.0.2', ''), await runs('1.9.3', ''), await runs('1.9.3', 'off')],
      [0, 1, 0],
    );
  });

  test('cannot reach the loopback behind a network card', async () => {
    const { reference } = await pushed('card');
    const { stderr } = await create(reference, '1.9.3', { SMOLVM_PUBLISH_ADDR: '0.0.0.0' });
    assert.match(stderr, /connection refused/);
  });
});
