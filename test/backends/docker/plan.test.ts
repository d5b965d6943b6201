import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BottleSpec } from '../../../src/backends/backend.ts';
import { bottleOf, identityOf, labelsOf } from '../../../src/backends/labels.ts';
import { hostsText, planContainer } from '../../../src/backends/docker/plan.ts';
import { createArguments, createBody } from '../../../src/engine/container-create.ts';

const owner = { pid: 7, startTime: '8', machine: 'm', bootId: 'b', pidNamespace: 'pid:[1]' };
const spec: BottleSpec = {
  slug: 'agent-abcde',
  initProgram: '/opt/bottle-init',
  image: 'sha256:0',
  command: ['true'],
  workdir: '/w',
  stdin: true,
  terminal: true,
  env: { PUBLIC: 'value-one', PATH: '/value-two' },
  resources: { cpus: 1.5, memoryBytes: 1000, pids: 10, diskBytes: 5000 },
  runDirectory: '/state/run',
  probes: [],
  mounts: [{ source: '/home/u/a "b",c', target: '/mnt', readOnly: true }],
  owner,
};
const identity = { user: 'dev', keepsHome: true };
const plan = (change: Partial<BottleSpec> = {}) =>
  planContainer({ ...spec, ...change }, identity, {
    version: '1',
    limitsDisk: false,
    withoutNetworking: false,
    runtime: 'runc',
  });

describe('what an engine is asked for', () => {
  test('has no value of a variable on the command line, but for those that would steer the command', () => {
    for (const dialect of ['docker', 'podman'] as const) {
      const line = createArguments(dialect, plan());
      assert.ok(line.includes('--env=PUBLIC'));
      assert.ok(!line.join(' ').includes('value-one'));
      assert.ok(line.includes('--env=PATH=/value-two'));
    }
    assert.deepEqual(createBody(plan()).Env, ['PUBLIC=value-one', 'PATH=/value-two']);
  });

  test('is sealed both ways', () => {
    for (const dialect of ['docker', 'podman'] as const) {
      const line = createArguments(dialect, plan());
      for (const option of [
        '--network=none',
        '--cap-drop=ALL',
        '--security-opt=no-new-privileges',
        '--ipc=private',
      ]) {
        assert.ok(line.includes(option), option);
      }
      assert.ok(!line.some((option) => /privileged|--volume|--device|seccomp=/.test(option)));
      assert.deepEqual(
        line.filter((option) => option.startsWith('--cap-add')),
        'CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP'
          .split(' ')
          .map((name) => `--cap-add=${name}`),
      );
    }
    const { HostConfig } = createBody(plan());
    assert.equal(HostConfig.NetworkMode, 'none');
    assert.deepEqual(HostConfig.CapDrop, ['ALL']);
    assert.deepEqual(HostConfig.SecurityOpt, ['no-new-privileges']);
    assert.equal(HostConfig.MemorySwap, HostConfig.Memory);
  });

  test('puts the runtime where each command takes it', () => {
    assert.deepEqual(createArguments('podman', plan()).slice(0, 2), ['--runtime=runc', 'create']);
    assert.deepEqual(createArguments('docker', plan()).slice(0, 2), ['create', '--runtime=runc']);
  });

  test('mounts paths with every character', () => {
    const mounts = createArguments('docker', plan()).filter((option) => option.startsWith('--mount='));
    assert.equal(
      mounts.at(-1),
      '--mount=type=bind,"source=/home/u/a ""b"",c",target=/mnt,bind-propagation=rprivate,readonly',
    );
    assert.ok(mounts.slice(0, 2).every((option) => option.endsWith(',readonly')));
  });

  test('has an /etc/hosts of ours where the engine makes none', () => {
    const made = planContainer(spec, identity, { version: '1', limitsDisk: true, withoutNetworking: true });
    assert.deepEqual(made.mounts[2], { source: '/state/run/hosts', target: '/etc/hosts', readOnly: true });
    assert.match(hostsText('agent-abcde'), /^127\.0\.0\.1\tagent-abcde$/m);
    assert.equal(made.diskBytes, 5000);
  });
});

describe('the labels of a bottle', () => {
  const bottle = { slug: 'agent-abcde', version: '1', owner };

  test('are read back as what they were', () => {
    const labels = labelsOf(bottle, identity);
    assert.deepEqual(bottleOf(labels), bottle);
    assert.deepEqual(identityOf(labels), identity);
  });

  test('of somebody else, or half of ours, are no bottle', () => {
    const labels = labelsOf(bottle, identity);
    for (const name of Object.keys(labels).filter((name) => !/user|home/.test(name))) {
      const { [name]: _dropped, ...rest } = labels;
      assert.equal(bottleOf(rest), undefined, name);
    }
    assert.equal(bottleOf({ ...labels, 'claude-bottle.owner': 'x' }), undefined);
  });
});
