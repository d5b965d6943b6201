import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as v from 'valibot';
import { BottleRecord } from '../../src/bottles/record.ts';

/** As releases wrote it that knew containers alone. */
const old = {
  format: 1,
  slug: 'claude-abcde',
  version: '0.1.0',
  agent: 'claude',
  bottles: [],
  backend: 'docker',
  engine: { command: 'docker', env: { HOME: '/home/u' } },
  image: { reference: 'claude-bottle:latest', id: 'sha256:0' },
  command: ['claude'],
  workdir: '/workspace',
  terminal: true,
  startedAt: '2026-01-01T00:00:00.000Z',
  owner: { pid: 1, startTime: '2', machine: 'm', bootId: 'b', pidNamespace: 'n' },
  phase: 'kept',
  gitUser: {},
};

test('a record from before there were machines is read as it stands', () => {
  assert.deepEqual(v.parse(BottleRecord, old), old);
});

test('a record of a machine says where that is', () => {
  const machine = {
    smolvm: '/opt/smolvm',
    version: '1.9.3',
    home: '/m',
    env: { HOME: '/h', XDG_DATA_HOME: null },
  };
  const record = { ...old, backend: 'smolmachines', machine };
  assert.deepEqual(v.parse(BottleRecord, JSON.parse(JSON.stringify(record))), record);
  assert.ok(!v.is(BottleRecord, { ...record, machine: { smolvm: '/opt/smolvm' } }));
});
