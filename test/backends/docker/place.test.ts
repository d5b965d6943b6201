import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Place, placeProblem } from '../../../src/backends/docker/place.ts';

const here: Place = {
  command: 'docker',
  platform: 'linux',
  operatingSystem: 'Debian GNU/Linux 12 (bookworm)',
  remote: false,
  endpoint: 'unix:///var/run/docker.sock',
};
const signOf = (change: Partial<Place>) => placeProblem({ ...here, ...change })?.fields;

describe('an engine is refused where a socket of this host cannot be mounted', () => {
  test('but not on this host itself, rootless included', () => {
    assert.equal(signOf({}), undefined);
    assert.equal(signOf({ endpoint: 'unix:///run/user/1000/docker.sock' }), undefined);
    assert.equal(signOf({ command: 'podman', endpoint: undefined }), undefined);
  });

  test('in a virtual machine', () => {
    assert.equal(signOf({ operatingSystem: 'Docker Desktop' })?.sign, 'Docker Desktop');
    assert.equal(signOf({ endpoint: 'unix:///home/u/.colima/default/docker.sock' })?.sign, 'colima');
    assert.equal(signOf({ endpoint: 'unix:///home/u/.lima/x/sock/docker.sock' })?.place, 'virtual-machine');
    assert.equal(signOf({ command: 'podman', remote: true, endpoint: undefined })?.place, 'virtual-machine');
    assert.equal(signOf({ platform: 'darwin' })?.sign, 'macOS');
  });

  test('on another host', () => {
    assert.deepEqual(signOf({ remote: true, endpoint: 'ssh://me@far' }), {
      command: 'docker',
      place: 'remote',
      sign: 'ssh://me@far',
    });
  });
});
