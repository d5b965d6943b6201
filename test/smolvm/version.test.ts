import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { largestLayer, requirementOf, versionCan } from '../../src/smolvm/capabilities.ts';
import { compareVersions, formatVersion, parseVersion, parseVersionLine } from '../../src/smolvm/version.ts';

const part = fc.integer({ min: 0, max: 999 });
const version = fc.record({ major: part, minor: part, patch: part }, { noNullPrototype: true });

describe('a version of smolvm', () => {
  test('is read back as it was written', () => {
    fc.assert(
      fc.property(version, (v) => assert.deepEqual(parseVersionLine(`smolvm ${formatVersion(v)}\n`), v)),
    );
  });

  test('is ordered by number, not by text', () => {
    assert.ok(compareVersions(parseVersion('1.10.0'), parseVersion('1.9.3')) > 0);
    fc.assert(
      fc.property(version, version, (a, b) => {
        const weight = ({ major, minor, patch }: typeof a) => major * 1e6 + minor * 1e3 + patch;
        assert.equal(Math.sign(compareVersions(a, b)), Math.sign(weight(a) - weight(b)));
      }),
    );
  });

  for (const line of [
    'smolvm, version 1.2.3',
    'SmolVM 1.2.3',
    'smolvm 1.2',
    'smolvm 1.2.3.4',
    'x smolvm 1.2.3',
    '',
  ]) {
    test(`is not found in ${JSON.stringify(line)}`, () => assert.equal(parseVersionLine(line), undefined));
  }
});

describe('a capability', () => {
  test('is there from its release on, and not before', () => {
    assert.equal(versionCan(parseVersion('1.4.7'), 'plainLayers'), false);
    assert.equal(versionCan(parseVersion('1.5.0'), 'plainLayers'), true);
    assert.equal(versionCan(parseVersion('2.0.0'), 'plainLayers'), true);
    assert.deepEqual(requirementOf('pack').needed, '0.8.0');
  });

  test('bounds the layer that can leave the VM', () => {
    const gib = 1024 ** 3;
    const limits = ['0.8.0', '1.3.2', '1.3.3', '1.5.2', '1.6.0', '1.8.2', '1.8.3'].map((v) => [
      v,
      largestLayer(parseVersion(v)) / gib,
    ]);
    assert.deepEqual(Object.fromEntries(limits), {
      '0.8.0': Number.POSITIVE_INFINITY,
      '1.3.2': Number.POSITIVE_INFINITY,
      '1.3.3': 4,
      '1.5.2': 4,
      '1.6.0': 64,
      '1.8.2': 64,
      '1.8.3': 64,
    });
  });
});
