import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseBackend, type Wishes } from '../../src/backends/choice.ts';
import type { BackendName } from '../../src/backends/names.ts';
import { Interrupted } from '../../src/process/errors.ts';
import { SmolvmMissing } from '../../src/smolvm/errors.ts';

const noSmolvm = new SmolvmMissing({ looked: 'smolvm', configured: false });
const never = new AbortController().signal;

/** What is chosen where the backends stand so, and who was looked at. */
async function chosen(wishes: Wishes, broken: Partial<Record<BackendName, Error>> = {}, signal = never) {
  const looked: BackendName[] = [];
  const seek = (name: BackendName) => {
    looked.push(name);
    const error = broken[name];
    return error === undefined ? Promise.resolve(`a ${name}`) : Promise.reject(error);
  };
  return { ...(await chooseBackend(wishes, seek, signal)), looked };
}

test('a machine is preferred, and nothing else is looked at where it works', async () => {
  const { name, reason, found, looked } = await chosen({});
  assert.deepEqual([name, reason, found], ['smolmachines', { kind: 'preferred' }, 'a smolmachines']);
  assert.deepEqual(looked, ['smolmachines']);
});

test('a container is what is left where it does not, with the reason', async () => {
  const { name, reason } = await chosen({}, { smolmachines: noSmolvm });
  assert.equal(name, 'docker');
  assert.deepEqual(reason, { kind: 'fallback', failures: [{ name: 'smolmachines', failure: noSmolvm }] });
});

test('what somebody says is taken or fails, and is never replaced', async () => {
  const said = { said: { name: 'smolmachines', by: '--backend' } } as const;
  assert.deepEqual((await chosen(said)).reason, { kind: 'said', saidBy: '--backend' });
  await assert.rejects(chosen(said, { smolmachines: noSmolvm }), noSmolvm);
  const docker = await chosen({ said: { name: 'docker', by: 'bottle work' } });
  assert.deepEqual([docker.name, docker.looked], ['docker', ['docker']]);
});

test('what something else needs is taken, unless somebody says otherwise', async () => {
  const needed = { name: 'docker', by: '--runtime' } as const;
  assert.deepEqual((await chosen({ needed })).reason, { kind: 'needed', by: '--runtime' });
  const said = { name: 'smolmachines', by: '--backend' } as const;
  assert.equal((await chosen({ needed, said })).name, 'smolmachines');
});

test('the last failure is the news where nothing works', async () => {
  const broken = { smolmachines: noSmolvm, docker: new SmolvmMissing({ looked: 'x', configured: true }) };
  await assert.rejects(chosen({}, broken), broken.docker);
});

test('a bug and an interruption are no reasons to take another', async () => {
  const bug = new TypeError('a bug');
  await assert.rejects(chosen({}, { smolmachines: bug }), bug);
  const stopped = new Interrupted({ signal: 'SIGINT' });
  await assert.rejects(chosen({}, { smolmachines: noSmolvm }, AbortSignal.abort(stopped)), stopped);
});
