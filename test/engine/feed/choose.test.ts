import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { chooseFeeders, type FeedFacts } from '../../../src/engine/feed/choose.ts';

const cold: FeedFacts = {
  store: 'graph-driver',
  version: '20.10.24+dfsg1',
  sharesLoopback: true,
  knownLayers: 0,
  layers: 5,
  builds: 1,
  tagged: true,
};

const cases: [string, Partial<FeedFacts>, string[]][] = [
  ['an old graph driver exports first', {}, ['export', 'save', 'push']],
  ['a newer graph driver saves first', { version: '28.5.2' }, ['save', 'push', 'export']],
  ['a version that cannot be read counts as new', { version: 'dev' }, ['save', 'push', 'export']],
  ['a source that changed is pushed, so that edits become cheap', { builds: 2 }, ['push', 'save', 'export']],
  ['the containerd store pushes', { store: 'containerd' }, ['push', 'save', 'export']],
  ['podman saves what is new', { store: 'podman', tagged: false }, ['save', 'push', 'export']],
  ['podman pushes when some of it is here', { store: 'podman', knownLayers: 1 }, ['push', 'save', 'export']],
  ['an engine far away cannot push', { sharesLoopback: false, builds: 2 }, ['save', 'export']],
  ['an image without a name is not pushed', { tagged: false, builds: 2 }, ['export', 'save']],
  ['nor from the containerd store', { store: 'containerd', tagged: false }, ['save', 'export']],
  ['nothing is moved when everything is here', { knownLayers: 5 }, ['known', 'save', 'push', 'export']],
  [
    'an image without layers has them all',
    { layers: 0, knownLayers: 0 },
    ['known', 'save', 'push', 'export'],
  ],
];
for (const [what, facts, order] of cases) {
  test(what, () => assert.deepEqual(chooseFeeders({ ...cold, ...facts }).order, order));
}

test('whatever the facts, there is a reason, a way that always works, and no push that cannot', () => {
  const facts = fc.record({
    store: fc.constantFrom('graph-driver' as const, 'containerd' as const, 'podman' as const),
    version: fc.constantFrom('', '20.10.24', '26.1.5', '28.5.2', '4.3.1', 'x'),
    sharesLoopback: fc.boolean(),
    knownLayers: fc.nat(4),
    layers: fc.nat(8),
    builds: fc.integer({ min: 1, max: 9 }),
    tagged: fc.boolean(),
  });
  fc.assert(
    fc.property(facts, (some) => {
      const { order, reason } = chooseFeeders(some);
      assert.ok(reason.length > 10);
      assert.ok(order.includes('save'));
      assert.equal(new Set(order).size, order.length);
      if (!some.sharesLoopback || (!some.tagged && some.store !== 'podman'))
        assert.ok(!order.includes('push'));
      assert.equal(order.includes('known'), some.knownLayers === some.layers);
    }),
  );
});
