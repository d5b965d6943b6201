import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { ConfigUnreadable } from '../../src/oci/errors.ts';
import { parseDiffIds, parseImageConfig } from '../../src/oci/image-config.ts';

const diffId = `sha256:${'a'.repeat(64)}`;

describe('an image config', () => {
  test('keeps what is set', () => {
    const config = {
      User: '1000:1000',
      ExposedPorts: { '80/tcp': {} },
      Env: ['PATH=/bin'],
      Entrypoint: ['/init'],
      Cmd: ['sh'],
      Volumes: { '/data': {} },
      WorkingDir: '/work',
      Labels: { a: '' },
      StopSignal: 'SIGINT',
    };
    const source = {
      architecture: 'arm',
      os: 'linux',
      variant: 'v7',
      created: '2026-01-01T00:00:00Z',
      config,
    };
    assert.deepEqual(parseImageConfig(Buffer.from(JSON.stringify({ ...source, history: [] }))), source);
    assert.deepEqual(parseImageConfig(source), source);
  });

  test('reads null, empty and absent alike, as engines differ in what they write', () => {
    const bare = { architecture: 'amd64', os: 'linux' };
    const expected = { ...bare, config: {} };
    const empty = {
      User: '',
      Env: [],
      Cmd: null,
      Entrypoint: null,
      Labels: {},
      Volumes: null,
      ExposedPorts: {},
    };
    assert.deepEqual(parseImageConfig(bare), expected);
    assert.deepEqual(parseImageConfig({ ...bare, variant: '', created: null, config: null }), expected);
    assert.deepEqual(
      parseImageConfig({ ...bare, config: { ...empty, WorkingDir: '', OnBuild: null } }),
      expected,
    );
  });

  test('keeps names that mean something to JavaScript', () => {
    const odd = '{"__proto__":"kept","constructor":"too","toString":"as well"}';
    const sets = '{"__proto__":{},"constructor":{}}';
    const config = `{"Labels":${odd},"Volumes":${sets},"ExposedPorts":${sets}}`;
    const parsed = parseImageConfig(Buffer.from(`{"architecture":"a","os":"l","config":${config}}`));
    assert.equal(JSON.stringify(parsed.config.Labels), odd);
    assert.equal(JSON.stringify(parsed.config.Volumes), sets);
    assert.equal(JSON.stringify(parsed.config.ExposedPorts), sets);
    for (const labels of ['[]', '"a"', '{"a":1}', '{"__proto__":1}']) {
      const source = `{"architecture":"a","os":"l","config":{"Labels":${labels}}}`;
      assert.throws(() => parseImageConfig(Buffer.from(source)), ConfigUnreadable, labels);
    }
  });

  test('takes ports and volumes for sets, whatever their values', () => {
    const source = {
      architecture: 'amd64',
      os: 'linux',
      config: { Volumes: { '/v': null }, ExposedPorts: { '1/tcp': [] } },
    };
    assert.deepEqual(parseImageConfig(source).config, {
      Volumes: { '/v': {} },
      ExposedPorts: { '1/tcp': {} },
    });
  });

  test('is refused when it is no JSON or no config', () => {
    for (const text of ['', '{', '[]', '{"os":"linux"}', '{"architecture":"","os":"linux"}']) {
      assert.throws(() => parseImageConfig(Buffer.from(text)), ConfigUnreadable, text);
    }
    assert.throws(
      () => parseImageConfig({ architecture: 'a', os: 'b', config: { Env: 'A=1' } }),
      ConfigUnreadable,
    );
  });

  test('what is no JSON is told without what is in it, by any way that an error is shown', () => {
    assert.throws(
      () => parseImageConfig(Buffer.from('["TOKEN=canary", x]')),
      (error) => !inspect(error, { depth: 9 }).includes('canary'),
    );
  });

  test('what is wrong with it is told without what is in it', () => {
    const hidden = {
      architecture: 'a',
      os: 5,
      config: { Env: ['A=hunter2', ['hunter2']], User: { a: 'hunter2' } },
    };
    for (const config of [hidden, { ...hidden, architecture: 'hunter2', os: ['hunter2'] }]) {
      assert.throws(
        () => parseImageConfig(config),
        (error: ConfigUnreadable) => {
          assert.match(
            error.fields.reason,
            /^os: expected string; config\.User: expected string; config\.Env\.1: /,
          );
          return !inspect(error, { depth: 9 }).includes('hunter2');
        },
      );
    }
  });

  test('names the digests of its layers', () => {
    assert.deepEqual(parseDiffIds({ rootfs: { type: 'layers', diff_ids: [diffId, diffId] } }), [
      diffId,
      diffId,
    ]);
    assert.deepEqual(parseDiffIds({ rootfs: { type: 'layers', diff_ids: null } }), []);
    assert.throws(
      () => parseDiffIds({ rootfs: { type: 'layers', diff_ids: ['sha256:abc'] } }),
      ConfigUnreadable,
    );
    assert.throws(() => parseDiffIds({}), ConfigUnreadable);
  });
});
