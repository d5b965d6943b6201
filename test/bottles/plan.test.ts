import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Choices, makePlan, type PlanFacts } from '../../src/bottles/plan.ts';
import type { BottleDefinition, Definitions } from '../../src/definitions/definition.ts';

const choices: Choices = {
  buildArgs: {},
  templateImage: false,
  command: [],
  resources: {},
  mounts: [],
  terminal: true,
  detach: false,
  dirty: false,
  uncommitted: false,
  bypass: true,
};

const template = { name: 'claude', directory: '/builtin/claude', command: ['claude'], needsOwnImage: false };

function definitions(bottle: Partial<BottleDefinition> = {}): Definitions {
  return {
    agent: { name: 'claude', source: 'built-in', prompt: '', skills: [], gitUser: {}, bottles: [] },
    bottle: {
      names: ['dev'],
      env: {},
      image: { buildArgs: {} },
      resources: {},
      gitUser: {},
      presets: [],
      rules: [],
      ...bottle,
    },
    warnings: [],
  };
}

function facts(given: Partial<PlanFacts> = {}): PlanFacts {
  return {
    slug: 'claude-abcde',
    definitions: definitions(),
    choices,
    template,
    directory: '/repo',
    ownDockerfile: undefined,
    workspace: undefined,
    backend: 'docker',
    backendReason: 'asked for',
    backendFacts: { runtime: 'runc', diskLimit: 'watched' },
    host: { cpus: 16, memoryBytes: 64 * 2 ** 30 },
    rules: [],
    presets: [],
    ...given,
  };
}

const build = (dockerfile: string, context: string, why: string) => ({
  kind: 'build',
  dockerfile,
  context,
  buildArgs: {},
  why,
});

test('the image is the command line’s, else the bottle’s, else the repository’s, else the template’s', () => {
  const image = definitions({ image: { image: 'mine:1', buildArgs: {} } });
  const own = { ownDockerfile: '/repo/Dockerfile' };
  assert.deepEqual(
    makePlan(facts()).image,
    build('/builtin/claude/Dockerfile', '/builtin/claude', 'built in for claude'),
  );
  assert.deepEqual(makePlan(facts(own)).image, build('/repo/Dockerfile', '/repo', 'the Dockerfile here'));
  assert.deepEqual(makePlan(facts({ ...own, definitions: image })).image, {
    kind: 'image',
    reference: 'mine:1',
    why: 'bottle dev',
  });
  const chosen = { ...choices, image: 'other:2' };
  assert.deepEqual(makePlan(facts({ ...own, definitions: image, choices: chosen })).image, {
    kind: 'image',
    reference: 'other:2',
    why: '--image',
  });
});

test('the template’s image can be asked for, and is taken where it is needed', () => {
  const own = { ownDockerfile: '/repo/Dockerfile' };
  const asked = makePlan(facts({ ...own, choices: { ...choices, templateImage: true } }));
  const needed = makePlan(facts({ ...own, template: { ...template, needsOwnImage: true } }));
  for (const { image } of [asked, needed]) {
    assert.deepEqual(image, build('/builtin/claude/Dockerfile', '/builtin/claude', 'built in for claude'));
  }
});

test('with nothing to make an image from there is none', () => {
  assert.equal(makePlan(facts({ template: undefined })).image, undefined);
});

test('limits are the command line’s, else the bottle’s, else a part of the host', () => {
  const plain = makePlan(facts()).resources;
  assert.deepEqual(plain, { cpus: 4, memoryBytes: 8 * 2 ** 30, pids: 4096, diskBytes: 20 * 2 ** 30 });
  const small = makePlan(facts({ host: { cpus: 2, memoryBytes: 4 * 2 ** 30 } })).resources;
  assert.deepEqual([small.cpus, small.memoryBytes], [2, 2 * 2 ** 30]);
  const defined = definitions({ resources: { cpus: 1, pids: 99 } });
  const given = makePlan(
    facts({ definitions: defined, choices: { ...choices, resources: { pids: 7 } } }),
  ).resources;
  assert.deepEqual([given.cpus, given.pids], [1, 7]);
});

test('a machine gets whole cores, MiB and GiB, and never less than was asked for', () => {
  const resources = { cpus: 1.5, memoryBytes: 1e9, pids: 7, diskBytes: 10e9 };
  const asked = { ...choices, resources };
  const machine = makePlan(facts({ backend: 'smolmachines', choices: asked })).resources;
  assert.deepEqual(machine, { cpus: 2, memoryBytes: 954 * 2 ** 20, pids: 7, diskBytes: 10 * 2 ** 30 });
  assert.deepEqual(makePlan(facts({ choices: asked })).resources, resources);
});

test('the same facts give the same plan', () => {
  assert.deepEqual(makePlan(facts()), makePlan(facts()));
});
