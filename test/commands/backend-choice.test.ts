import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { House } from '../bottles/house.ts';
import { double } from '../smolvm/double.ts';

let house: House;
/** A PATH with everything but a smolvm. */
let path: string;
let machinesHome: string;

before(async () => {
  house = await House.build();
  path = process.env['PATH'] ?? '';
  machinesHome = await mkdtemp('/var/tmp/cb-');
  house.env['CLAUDE_BOTTLE_SMOLVM_HOME'] = machinesHome;
  await house.define('bottles', 'contained', '---\nbackend: docker\n---\n');
  await house.define('bottles', 'machined', '---\nbackend: smolmachines\nresources: { pids: 99 }\n---\n');
});
after(async () => {
  await house[Symbol.asyncDispose]();
  await rm(machinesHome, { recursive: true });
});

interface PlanDocument {
  readonly backend: string;
  readonly backendReason: string;
  readonly backendFacts: { readonly runtime: string };
}

/** No smolvm and no KVM, unless a test says otherwise. */
const nothing = { CLAUDE_BOTTLE_SMOLVM: '/nowhere/smolvm', CLAUDE_BOTTLE_KVM: '/nowhere/kvm' };
const machines = { CLAUDE_BOTTLE_SMOLVM: double, CLAUDE_BOTTLE_KVM: '/dev/null' };

const dryRun = (args: readonly string[], env: Record<string, string> = {}) =>
  house.bottle(['start', '--dry-run', '--image=any:1', ...args, '--', 'true'], {
    env: { ...nothing, PATH: path, CLAUDE_BOTTLE_BACKEND: '', ...env },
    input: '',
  });

async function planned(args: readonly string[], env: Record<string, string> = {}): Promise<PlanDocument> {
  const { code, stdout, stderr } = await dryRun(['--json', ...args], env);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as PlanDocument;
}

describe('a machine', () => {
  test('is preferred where it works, and the plan says by what', async () => {
    const plan = await planned([], machines);
    assert.equal(plan.backend, 'smolmachines');
    assert.equal(plan.backendReason, 'chosen because smolvm 1.9.3 and /dev/null are here');
    assert.equal(plan.backendFacts.runtime, 'smolvm 1.9.3');
    const oldest = await planned([], { ...machines, FAKE_SMOLVM_VERSION: '1.8.1' });
    assert.equal(oldest.backend, 'smolmachines');
  });

  test('is shown with what it holds to, in the units that it has', async () => {
    const { code, stderr } = await dryRun(['--backend=smolmachines', '--cpus=1.5', '--disk=1G'], machines);
    assert.equal(code, 0, stderr);
    assert.match(
      stderr,
      /made of +a machine \(smolmachines, smolvm 1\.9\.3\): 2 cpus, \S+ \S+ of memory, 1\.07 GB of disk\n +as --backend says/,
    );
  });

  test('says that it holds to no number of processes, where somebody wants one', async () => {
    for (const args of [['--bottle=machined'], ['--backend=smolmachines', '--pids=99']]) {
      const { stderr } = await dryRun(args, machines);
      assert.match(stderr, /^! the limit of 99 processes is not held: .* memory$/m);
    }
    assert.doesNotMatch((await dryRun(['--bottle=contained', '--pids=99'], machines)).stderr, /not held/);
  });
});

describe('a machine of root’s', { skip: process.geteuid?.() === 0 ? false : 'only root has one' }, () => {
  test('comes with a warning that it runs as another user, and so do none of those that do not', async () => {
    const warning = /^! smolvm runs root’s machines as another user/m;
    assert.match((await dryRun(['--backend=smolmachines'], machines)).stderr, warning);
    const kept = { ...machines, SMOLVM_VM_UID_DROP: 'off' };
    assert.doesNotMatch((await dryRun(['--backend=smolmachines'], kept)).stderr, warning);
    assert.doesNotMatch((await dryRun(['--backend=docker'], machines)).stderr, warning);
  });
});

describe('a container', () => {
  test('is what there is without a machine, and the plan says what is missing', async () => {
    const { backend, backendReason } = await planned([]);
    assert.equal(backend, 'docker');
    assert.match(backendReason, /nothing stronger works here \(smolmachines: there is no \/nowhere\/kvm/);
    const withoutSmolvm = await planned([], { CLAUDE_BOTTLE_KVM: '/dev/null' });
    assert.match(withoutSmolvm.backendReason, /there is no smolvm at \/nowhere\/smolvm/);
    const old = await planned([], { ...machines, FAKE_SMOLVM_VERSION: '1.7.0' });
    assert.match(old.backendReason, /smolvm 1\.7\.0 is too old; 1\.8\.1 or newer is needed/);
    assert.deepEqual([withoutSmolvm.backend, old.backend], ['docker', 'docker']);
  });

  test('is shown to a person with the reason', async () => {
    const { code, stderr } = await dryRun([]);
    assert.equal(code, 0, stderr);
    assert.match(
      stderr,
      /made of +a container \(docker, \w+\): .* processes, .*\n +chosen because nothing stronger works/,
    );
  });

  test('is what the command line, the environment or the bottle says, in that order', async () => {
    const reasonOf = async (args: string[], env = {}) => {
      const { backend, backendReason } = await planned(args, { ...machines, ...env });
      return [backend, backendReason];
    };
    const variable = { CLAUDE_BOTTLE_BACKEND: 'docker' };
    assert.deepEqual(await reasonOf(['--bottle=contained']), ['docker', 'as bottle contained says']);
    assert.deepEqual(await reasonOf(['--bottle=machined'], variable), [
      'docker',
      'as CLAUDE_BOTTLE_BACKEND says',
    ]);
    assert.deepEqual(
      await reasonOf(['--bottle=machined', '--backend=docker'], { CLAUDE_BOTTLE_BACKEND: 'smolmachines' }),
      ['docker', 'as --backend says'],
    );
  });

  test('is what --runtime needs', async () => {
    const { backendFacts } = await planned([]);
    const { backend, backendReason } = await planned([`--runtime=${backendFacts.runtime}`], machines);
    assert.equal(backend, 'docker');
    assert.match(backendReason, /--runtime/);
  });
});

describe('a machine that is asked for and cannot be had is an error, and no container is made instead', () => {
  const cases: Record<string, { args: string[]; env: Record<string, string>; code: number; says: RegExp }> = {
    'without KVM': {
      args: ['--backend=smolmachines'],
      env: { ...machines, CLAUDE_BOTTLE_KVM: '/nowhere/kvm' },
      code: 3,
      says: /there is no \/nowhere\/kvm on this host[^]*--backend docker/,
    },
    'without the right to use it': {
      args: ['--backend=smolmachines'],
      env: { ...machines, CLAUDE_BOTTLE_KVM: '/' },
      code: 3,
      says: /\/ is there, but not for you/,
    },
    'without smolvm, by the environment': {
      args: [],
      env: { CLAUDE_BOTTLE_KVM: '/dev/null', CLAUDE_BOTTLE_BACKEND: 'smolmachines' },
      code: 3,
      says: /there is no smolvm at \/nowhere\/smolvm/,
    },
    'with an old one, by the bottle': {
      args: ['--bottle=machined'],
      env: { ...machines, FAKE_SMOLVM_VERSION: '1.7.0' },
      code: 3,
      says: /smolvm 1\.7\.0 is too old; 1\.8\.1/,
    },
    'with a runtime for containers': {
      args: ['--backend=smolmachines', '--runtime=runc'],
      env: machines,
      code: 2,
      says: /--runtime names a runtime for containers, and smolmachines \(--backend\) has none/,
    },
    'with a file of this host in it': {
      args: ['--backend=smolmachines', '--mount=/etc/hostname:ro'],
      env: machines,
      code: 2,
      says: /\/etc\/hostname cannot be mounted into a machine[^]*--backend docker/,
    },
    'by a name that no backend has': {
      args: [],
      env: { CLAUDE_BOTTLE_BACKEND: 'podman' },
      code: 2,
      says: /CLAUDE_BOTTLE_BACKEND cannot be "podman"[^]*smolmachines or docker/,
    },
  };
  for (const [name, { args, env, code, says }] of Object.entries(cases)) {
    test(name, async () => {
      const result = await dryRun(args, env);
      assert.equal(result.code, code, result.stderr);
      assert.match(result.stderr, says);
      assert.doesNotMatch(result.stderr, /made of/);
    });
  }
});

test('no program is started to find out that there is no machine', async () => {
  const bin = join(house.path, 'bin');
  const ran = join(house.path, 'ran');
  await mkdir(bin);
  await writeFile(join(bin, 'smolvm'), `#!/bin/sh\necho "$*" >>${ran}\nexec ${double} "$@"\n`);
  await chmod(join(bin, 'smolvm'), 0o755);
  const env = { PATH: `${bin}:${path}`, CLAUDE_BOTTLE_SMOLVM: '' };
  assert.equal((await planned([], env)).backend, 'docker');
  assert.equal(
    (await planned(['--backend=docker'], { ...env, CLAUDE_BOTTLE_KVM: '/dev/null' })).backend,
    'docker',
  );
  await assert.rejects(chmod(ran, 0o600), { code: 'ENOENT' });
});
