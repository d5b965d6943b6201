import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualisationMissing } from '../../src/smolvm/errors.ts';
import { virtualisation } from '../../src/smolvm/virtualisation.ts';

const lookingAt = (device: string) => virtualisation({ CLAUDE_BOTTLE_KVM: device }, 'linux');

test('a device that can be opened is what machines are booted with', async () => {
  assert.equal(await lookingAt('/dev/null'), '/dev/null');
});

test('one that is not there is told apart from one that is for others', async () => {
  const failureAt = (device: string) =>
    lookingAt(device).then(
      () => assert.fail(`${device} was taken`),
      (error: unknown) => {
        assert.ok(error instanceof VirtualisationMissing, String(error));
        return error.fields;
      },
    );
  assert.deepEqual(await failureAt('/nowhere/kvm'), {
    device: '/nowhere/kvm',
    problem: 'absent',
    code: 'ENOENT',
  });
  assert.equal((await failureAt('/dev/null/kvm')).problem, 'absent');
  // Not to be written to, whoever asks.
  const { problem, code } = await failureAt('/');
  assert.deepEqual([problem, code], ['denied', 'EISDIR']);
});

test('elsewhere than on Linux there is no device to look for', async () => {
  assert.equal(await virtualisation({ CLAUDE_BOTTLE_KVM: '/nowhere' }, 'darwin'), 'Hypervisor.framework');
});
