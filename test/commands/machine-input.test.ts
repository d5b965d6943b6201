import assert from 'node:assert/strict';
import { chmod, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunResult } from '../../src/process/run.ts';
import { machinesBelow } from '../../src/smolvm/vm-processes.ts';
import { buildImage, House, image } from '../bottles/house.ts';
import { double } from '../smolvm/double.ts';

let house: House;
/** Where smolvm keeps the machines of this file's bottles: short, and walkable for root's machines. */
let machines: string;

before(async () => {
  await buildImage();
  house = await House.build();
  machines = await mkdtemp('/var/tmp/cb-');
  await chmod(machines, 0o711);
  Object.assign(house.env, {
    CLAUDE_BOTTLE_BACKEND: 'smolmachines',
    CLAUDE_BOTTLE_SMOLVM: double,
    CLAUDE_BOTTLE_SMOLVM_HOME: machines,
    CLAUDE_BOTTLE_KVM: '/dev/null',
  });
  // What is to go wrong here comes after the image was packed.
  const packed = await house.start(['--', 'true']);
  assert.equal(packed.code, 0, packed.stderr);
});
after(async () => {
  await house[Symbol.asyncDispose]();
  await rm(machines, { recursive: true, force: true });
});

interface Case {
  readonly args?: readonly string[];
  readonly env?: Record<string, string>;
  readonly code: number;
  readonly says: readonly RegExp[];
}

/** What cannot work ends with its exit code, what it is, why, and a way out, and leaves nothing. */
async function refuses({ args = ['--', 'true'], env = {}, code, says }: Case): Promise<RunResult> {
  const result = await house.start(args, { env, input: '' });
  assert.equal(result.code, code, result.stderr);
  for (const text of says) assert.match(result.stderr, text);
  assert.doesNotMatch(result.stderr, /a bug in claude-bottle|\n\s+at .*\.ts:/);
  await leftNothing();
  return result;
}

async function leftNothing(): Promise<void> {
  const below = (...path: string[]) => readdir(join(...path)).catch(() => []);
  const vms = await below(machines, 'smolvm/.cache/smolvm/vms');
  assert.deepEqual(
    vms.filter((name) => /^[0-9a-f]{16}$/.test(name)),
    [],
  );
  assert.deepEqual(await below(machines, 'smolvm/claude-bottle-init'), []);
  assert.deepEqual(await machinesBelow(machines), []);
  assert.deepEqual(await below(house.path, 'run/claude-bottle'), []);
  for (const slug of await below(house.path, 'state/claude-bottle/bottles')) {
    const path = join(house.path, 'state/claude-bottle/bottles', slug, 'bottle.json');
    assert.match(await readFile(path, 'utf8'), /"phase": "ended"/);
  }
  // A supervisor tells its last word first, and ends then.
  for (let tries = 0; (await ours()).length > 0; tries++) {
    assert.ok(tries < 100, (await ours()).join('\n'));
    await sleep(50);
  }
}

/** Command lines of processes that have this house's environment: supervisors, and smolvm's. */
async function ours(): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
      if (!environment.includes(`HOME=${house.home}\0`)) return [];
      return [(await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')).replaceAll('\0', ' ')];
    }),
  );
  return found.flat();
}

describe('what machines need and is not here is told with the way out, and no container is made instead', () => {
  const table: Record<string, Case> = {
    'no KVM': {
      env: { CLAUDE_BOTTLE_KVM: '/nowhere/kvm' },
      code: 3,
      says: [/there is no \/nowhere\/kvm on this host/, /Machines are booted with it/, /--backend docker/],
    },
    'no right to use KVM': {
      env: { CLAUDE_BOTTLE_KVM: '/' },
      code: 3,
      says: [/\/ is there, but not for you \(E\w+\)/, /usermod -aG kvm/],
    },
    'no KVM, as smolvm finds when it boots': {
      env: { FAKE_SMOLVM_KVM: 'missing' },
      code: 3,
      says: [
        /smolvm 1\.9\.3 could not start the machine claude-bottle-\S+: there is no KVM here/,
        /kvm not available/,
        /--backend docker/,
      ],
    },
    'no right to use KVM, as smolvm finds when it boots': {
      env: { FAKE_SMOLVM_KVM: 'denied' },
      code: 3,
      says: [/could not start the machine .*: you may not use KVM/, /usermod -aG kvm/],
    },
    'no smolvm': {
      env: { CLAUDE_BOTTLE_SMOLVM: '/nowhere/smolvm' },
      code: 3,
      says: [
        /there is no smolvm at \/nowhere\/smolvm/,
        /CLAUDE_BOTTLE_SMOLVM names it/,
        /install smolvm 1\.8\.1/,
      ],
    },
    'a home that is no absolute path': {
      env: { CLAUDE_BOTTLE_SMOLVM_HOME: 'here' },
      code: 3,
      says: [/cannot be kept in here: it is not an absolute path/, /CLAUDE_BOTTLE_SMOLVM_HOME=\/path/],
    },
    'a home that is too long for sockets': {
      env: { CLAUDE_BOTTLE_SMOLVM_HOME: `/var/tmp/${'x'.repeat(60)}` },
      code: 3,
      says: [/the paths of sockets below it would be too long/, /66 are the most/],
    },
    'a home that is a file': {
      env: { CLAUDE_BOTTLE_SMOLVM_HOME: '/etc/passwd' },
      code: 3,
      says: [/cannot be kept in \/etc\/passwd: it is not a directory/],
    },
    'a mount of a file': {
      args: ['--mount=/etc/hostname', '--', 'true'],
      code: 2,
      says: [/\/etc\/hostname cannot be mounted into a machine/, /take directories/, /--backend docker/],
    },
    'a user that the image has not': {
      args: ['--user=nobody-here', '--', 'true'],
      code: 2,
      says: [/nobody can run as "nobody-here"/, /no such user/, /useradd/],
    },
    'a program that the image has not': {
      args: ['--', 'no-such-program'],
      code: 4,
      says: [/there is no "no-such-program" in the image/],
    },
  };
  for (const [name, each] of Object.entries(table)) test(name, () => refuses(each).then(() => undefined));

  test('another program called smolvm', async () => {
    const other = join(house.path, 'smolvm');
    // CelestoAI's SmolVM: `smolvm` with subcommands of its own, made with Python's Typer.
    const lines = [
      '#!/bin/sh',
      'if [ "$1" = --version ]; then echo "smolvm 0.0.9"; exit 0; fi',
      'echo "Usage: smolvm [OPTIONS] COMMAND [ARGS]..." >&2',
      'echo "Error: No such command \'$1\'." >&2; exit 2',
    ];
    await writeFile(other, lines.join('\n'));
    await chmod(other, 0o755);
    const says = [
      /smolvm is another program of the same name/,
      /It says: Usage: smolvm/,
      /CLAUDE_BOTTLE_SMOLVM=/,
    ];
    await refuses({ env: { CLAUDE_BOTTLE_SMOLVM: other }, code: 3, says });
    await writeFile(other, '#!/bin/sh\necho "SmolVM CLI 0.0.9"\n');
    await refuses({
      env: { CLAUDE_BOTTLE_SMOLVM: other },
      code: 3,
      says: [/another program/, /SmolVM CLI 0\.0\.9/],
    });
  });

  for (const version of ['0.8.0', '1.0.2', '1.5.0', '1.7.0']) {
    test(`smolvm ${version}, which packs nevertheless`, async () => {
      const env = { FAKE_SMOLVM_VERSION: version };
      const says = [
        new RegExp(`smolvm ${version.replaceAll('.', '\\.')} is too old; 1\\.8\\.1 or newer is needed`),
        /running a bottle in a microVM/,
        /update smolvm, or do without machines: claude-bottle start --backend docker/,
      ];
      await refuses({ env, code: 3, says });
      const packed = await house.bottle(['pack', '--image', image, '--no-cache'], { env });
      assert.equal(packed.code, 0, packed.stderr);
      await leftNothing();
    });
  }
});

describe('what goes wrong with a machine', () => {
  test('an artifact that is damaged between its check and its use is found, and mended', async () => {
    const cache = join(house.path, 'cache/claude-bottle/smolmachines');
    const names = await readdir(cache);
    const artifact = join(cache, names.find((name) => name.endsWith('.smolmachine')) ?? assert.fail());
    {
      await using file = await open(artifact, 'r+');
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, 100_000);
      await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, 100_000);
    }
    await refuses({
      code: 4,
      says: [/\S+\.smolmachine is no whole \.smolmachine \(crc32\)/, /the footer says/, /cache verify --fix/],
    });
    await house.bottle(['cache', 'verify', '--fix']);
    const mended = await house.start(['--', 'true']);
    assert.equal(mended.code, 0, mended.stderr);
  });

  test('a machine that never answers', () =>
    refuses({
      env: { FAKE_SMOLVM_FAIL: 'start-hang', FAKE_SMOLVM_READY_MS: '1500' },
      code: 4,
      says: [
        /smolvm 1\.9\.3 could not start the machine claude-bottle-\S+: nothing happened for too long/,
        /did not become ready/,
        /run it again/,
      ],
    }).then(() => undefined));

  test('a disk that is full when the machine is made', () =>
    refuses({
      env: { FAKE_SMOLVM_FAIL: 'no-space', SMOLVM_DISABLE_SHARED_EXTRACT: '1' },
      code: 4,
      says: [
        /could not make the machine claude-bottle-\S+: a disk ran full/,
        /No space left on device/,
        /cache prune --older-than 7d.*CLAUDE_BOTTLE_SMOLVM_HOME/,
      ],
    }).then(() => undefined));

  test('a machine that dies as soon as it runs', () =>
    refuses({
      env: { FAKE_SMOLVM_FAIL: 'die-after-ms=100' },
      code: 4,
      says: [
        /could not start the machine|the machine of \S+ never became ready|does not run/,
        /is not running|connection/,
        /^→ /m,
      ],
    }).then(() => undefined));

  test('a machine that dies in the middle of its command', async () => {
    const began = Date.now();
    const result = await refuses({
      args: ['--', 'sh', '-c', 'echo begun; sleep 600'],
      env: { FAKE_SMOLVM_FAIL: 'die-after-ms=12000' },
      code: 137,
      says: [/connection to VM lost/, /the machine ended under its command: its memory ran out \(--memory/],
    });
    assert.equal(result.stdout, 'begun\n');
    assert.ok(Date.now() - began < 90_000);
  });
});
