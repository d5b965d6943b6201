import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EmbeddedRegistry } from '../../../src/oci/registry/embedded-registry.ts';
import { ask } from './ask.ts';

const name = { repository: 'claude-bottle', tag: 't1' };

describe('a probe', () => {
  test('is seen by its repository, though the request is refused', async () => {
    await using registry = await EmbeddedRegistry.start(name);
    using probe = registry.probe();
    assert.equal(probe.seen, false);
    assert.equal((await ask(registry.host, `/v2/${probe.repository}/manifests/x`)).status, 401);
    assert.equal(probe.seen, true);
    assert.equal(await probe.waitSeen(0), true);
  });

  test('is seen by its credential, which opens nothing', async () => {
    await using registry = await EmbeddedRegistry.start(name);
    using probe = registry.probe();
    const as = probe.credential;
    assert.equal((await ask(registry.host, '/v2/', { as })).status, 200);
    assert.equal(probe.seen, true);
    for (const path of [
      `${probe.repository}/manifests/x`,
      'claude-bottle/manifests/t1',
      'claude-bottle/tags/list',
    ]) {
      assert.equal((await ask(registry.host, `/v2/${path}`, { as })).status, 404);
    }
    assert.equal(
      (await ask(registry.host, '/v2/claude-bottle/blobs/uploads/', { as, method: 'POST' })).status,
      404,
    );
  });

  test('is not seen by other requests, another probe’s among them', async () => {
    await using registry = await EmbeddedRegistry.start(name);
    using probe = registry.probe();
    using other = registry.probe();
    assert.notEqual(probe.repository, other.repository);
    await ask(registry.host, '/v2/', { as: { ...probe.credential, password: '' } });
    await ask(registry.host, '/v2/', { as: registry.reader });
    await ask(registry.host, `/v2/${other.repository}/manifests/x`);
    assert.deepEqual([probe.seen, other.seen], [false, true]);
    assert.equal(await probe.waitSeen(20), false);
  });

  test('wakes who waits, and its credential ends with it', async () => {
    await using registry = await EmbeddedRegistry.start(name);
    const probe = registry.probe();
    const waiting = probe.waitSeen(60_000);
    await ask(registry.host, '/v2/', { as: probe.credential });
    assert.equal(await waiting, true);
    probe[Symbol.dispose]();
    assert.equal((await ask(registry.host, '/v2/', { as: probe.credential })).status, 401);
  });
});
