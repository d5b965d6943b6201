import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseInfo } from '../../src/engine/info.ts';

const podman = (host: object) =>
  parseInfo(JSON.stringify({ host, store: { graphDriverName: 'overlay' }, version: { Version: '4.3.1' } }))
    ?.info.unheld;
const docker = (info: object) => parseInfo(JSON.stringify({ ServerVersion: '28', ...info }))?.info.unheld;

describe('limits that an engine would leave out', () => {
  test('are all of them for a podman without root on old control groups', () => {
    const security = { rootless: true };
    assert.deepEqual(
      podman({ security, cgroupVersion: 'v1', cgroupControllers: ['memory', 'pids', 'cpu'] }),
      ['memory', 'processors', 'processes'],
    );
    assert.deepEqual(podman({ security, cgroupVersion: 'v2', cgroupControllers: ['memory', 'pids'] }), [
      'processors',
    ]);
    assert.deepEqual(
      podman({ security, cgroupVersion: 'v2', cgroupControllers: ['memory', 'pids', 'cpu'] }),
      [],
    );
    assert.deepEqual(podman({ security: { rootless: false }, cgroupVersion: 'v1' }), []);
  });

  test('are those that docker says it cannot hold', () => {
    assert.deepEqual(docker({ MemoryLimit: true, PidsLimit: false, CpuCfsQuota: false }), [
      'processors',
      'processes',
    ]);
    assert.deepEqual(docker({ MemoryLimit: true, PidsLimit: true, CpuCfsQuota: true }), []);
    assert.deepEqual(docker({ MemoryLimit: false }), ['memory']);
  });
});
