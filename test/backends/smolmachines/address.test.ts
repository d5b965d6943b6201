import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as v from 'valibot';
import { homeOfAddress, machineAddress, MachineAddress } from '../../../src/backends/smolmachines/address.ts';

const smolvm = { path: '/opt/smolvm', version: '1.9.3' };

/** An address after its way through a record. */
function recorded(
  home: { path: string | undefined; env: Record<string, string | undefined> },
  environment: Record<string, string | undefined>,
) {
  const text = JSON.stringify(machineAddress(smolvm, home, environment));
  return { text, address: v.parse(MachineAddress, JSON.parse(text)) };
}

test('a home of our own is found again from any environment', () => {
  const env = { SMOLVM_DATA_DIR: '/home/u/m', SMOLVM_PUBLISH_ADDR: undefined };
  const { address } = recorded({ path: '/home/u/m', env }, { HOME: '/home/u', XDG_CACHE_HOME: '/c' });
  const { path, env: restored } = homeOfAddress(address);
  assert.equal(path, '/home/u/m');
  assert.equal(restored['SMOLVM_DATA_DIR'], '/home/u/m');
  assert.equal(restored['HOME'], '/home/u');
  assert.equal(restored['XDG_CACHE_HOME'], '/c');
  // Laid over another environment, it removes there what was not set here.
  assert.ok('SMOLVM_PUBLISH_ADDR' in restored && restored['SMOLVM_PUBLISH_ADDR'] === undefined);
  assert.ok('XDG_DATA_HOME' in restored && restored['XDG_DATA_HOME'] === undefined);
});

test('the user’s own home is the one of the environment that the bottle was made in', () => {
  const { address } = recorded({ path: undefined, env: {} }, { HOME: '/home/u', SMOLVM_DATA_DIR: '/data' });
  const { path, env } = homeOfAddress(address);
  assert.deepEqual([path, env['SMOLVM_DATA_DIR'], env['HOME']], [undefined, '/data', '/home/u']);
});

test('nothing else of the environment is in an address', () => {
  const { text } = recorded(
    { path: '/m', env: {} },
    { HOME: '/h', TOKEN: 'canary-5c2', SMOLVM_X: 'canary-5c2' },
  );
  assert.ok(!text.includes('canary-5c2'));
});
