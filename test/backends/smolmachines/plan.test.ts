import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BottleSpec } from '../../../src/backends/backend.ts';
import { machineName } from '../../../src/backends/smolmachines/names.ts';
import { identityFor, planMachine, sessionArguments } from '../../../src/backends/smolmachines/plan.ts';
import { LettingGo } from '../../../src/backends/smolmachines/letting-go.ts';
import { isSlug } from '../../../src/bottles/slug.ts';
import type { ArtifactManifest } from '../../../src/smolmachine/artifact.ts';

const gibi = 2 ** 30;
const owner = { pid: 1, startTime: '2', machine: 'm', bootId: 'b', pidNamespace: 'p' };
const manifest: ArtifactManifest = {
  mode: 'container',
  image: 'i',
  digest: 'd',
  platform: 'linux/amd64',
  host_platform: '',
  smolvm_version: '1.9.3',
  image_size: 0,
  env: ['PATH=/bin'],
  assets: { layers: [{ path: 'layers/1.tar', size: 1.2 * gibi, digest: 'l' }] },
};
const spec: BottleSpec = {
  slug: 'claude-0a1b2',
  initProgram: '/host/bottle-init-amd64',
  image: '/cache/0123.smolmachine',
  imageDefaults: { user: 'node', env: [] },
  command: ['claude', '--x'],
  workdir: '/workspace',
  stdin: true,
  terminal: true,
  env: { TERM: 'xterm' },
  resources: { cpus: 1.5, memoryBytes: 512 * 2 ** 20 + 1, pids: 10, diskBytes: 2.5 * gibi },
  runDirectory: '/run/user/1000/claude-bottle/claude-0a1b2/in',
  probes: ['a=tcp:1.1.1.1:443'],
  mounts: [{ source: '/home/me/data', target: '/data', readOnly: true }],
  owner,
};
const options = { version: '9.9.9', initDirectory: '/home/me/init', manifest };

describe('the plan of a machine', () => {
  test('has whole numbers that are never less than what was asked for', () => {
    const plan = planMachine(spec, { user: 'node', keepsHome: false }, options);
    assert.deepEqual(
      [plan.cpus, plan.memoryMiB, plan.overlayGiB, plan.storageGiB],
      [2, 513, 3, 3 + Math.ceil(2.4)],
    );
  });

  test('has bottle-init in the place of the image’s own command, and the three sockets of the host', () => {
    const plan = planMachine(spec, { user: 'node', keepsHome: false }, options);
    assert.deepEqual(plan.command, ['/run/claude-bottle-init/bottle-init', 'idle']);
    assert.deepEqual(plan.volumes, [
      { source: '/home/me/init', target: '/run/claude-bottle-init', readOnly: true },
      { source: '/home/me/data', target: '/data', readOnly: true },
    ]);
    assert.deepEqual(
      plan.sockets,
      ['gate', 'control', 'variables'].map((name) => ({
        host: `${spec.runDirectory}/${name}.sock`,
        guest: `/run/claude-bottle/${name}.sock`,
      })),
    );
    assert.equal(plan.labels['claude-bottle.slug'], spec.slug);
    assert.deepEqual(plan.env, spec.env);
  });

  test('knows the user from the command line, from the image, or as root; and whose HOME is whose', () => {
    assert.deepEqual(identityFor({ ...spec, user: 'me' }, manifest), { user: 'me', keepsHome: false });
    assert.deepEqual(identityFor(spec, manifest), { user: 'node', keepsHome: false });
    const { imageDefaults: _, ...bare } = spec;
    assert.deepEqual(identityFor(bare, { ...manifest, env: ['HOME=/h'] }), { user: '0:0', keepsHome: true });
  });

  test('starts the command in a session on a terminal or on pipes', () => {
    const identity = { user: 'node', keepsHome: false };
    const start = (terminal: boolean) => sessionArguments({ ...spec, terminal }, identity).slice(0, 3);
    assert.deepEqual(start(true), ['/run/claude-bottle-init/bottle-init', '--session', 'terminal']);
    assert.equal(start(false)[2], 'pipes');
  });

  test('has a name that smolvm takes and that is nobody else’s', () => {
    for (const slug of ['a-00000', 'a--b-00000', 'a---00000', 'a-----b-00000']) {
      assert.ok(isSlug(slug), slug);
      const name = machineName(slug);
      assert.ok(!name.includes('--') && !name.endsWith('-'), name);
      assert.equal(name.slice('claude-bottle-'.length).replaceAll('-_', '--'), slug);
    }
  });
});

describe('the keys that let go', () => {
  const key = (times: number) => Buffer.alloc(times, 0x1e);

  test('let go when they come eight times in a row, however they are cut', () => {
    const one = new LettingGo();
    for (let times = 0; times < 7; times++) assert.deepEqual(one.push(key(1)), Buffer.alloc(0));
    assert.equal(one.push(key(1)), undefined);
    assert.equal(new LettingGo().push(key(8)), undefined);
  });

  test('go through, all of them, when another comes in between', () => {
    const typed = new LettingGo();
    assert.deepEqual(typed.push(key(3)), Buffer.alloc(0));
    assert.deepEqual(typed.push(Buffer.from('x')), Buffer.concat([key(3), Buffer.from('x')]));
    assert.deepEqual(
      typed.push(Buffer.concat([key(7), Buffer.from('y')])),
      Buffer.concat([key(7), Buffer.from('y')]),
    );
    assert.deepEqual(typed.push(Buffer.from('plain')), Buffer.from('plain'));
  });
});
