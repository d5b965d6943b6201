import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Engine } from '../../src/engine/engine.ts';

test('what was found out about an engine makes it the same engine in another process, without a question', async () => {
  const found = await Engine.connect({ command: 'docker' });
  const told = JSON.parse(JSON.stringify(found.facts)) as typeof found.facts;
  // Nothing that could answer is at this place.
  const resumed = Engine.resume({ command: '/nowhere/docker' }, told);
  assert.deepEqual(JSON.parse(JSON.stringify(resumed.facts)), told);
  assert.deepEqual(await resumed.info(), await found.info());
  assert.equal(resumed.socket, found.socket);
});

test('the socket and the command tell the same of an engine', async () => {
  const direct = await Engine.connect({ command: 'docker' });
  const byCommand = await Engine.connect({ command: 'docker', direct: false });
  assert.deepEqual(await direct.info(), await byCommand.info());
  assert.equal(direct.endpoint, byCommand.endpoint);
});
