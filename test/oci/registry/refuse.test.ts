import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { EmbeddedRegistry } from '../../../src/oci/registry/embedded-registry.ts';
import { ask, basic, raw } from './ask.ts';
import { blobOf, flatImageOf } from './flat-image-of.ts';

const image = flatImageOf(blobOf(Buffer.from('layer')));
let registry: EmbeddedRegistry;

before(async () => {
  registry = await EmbeddedRegistry.start({ repository: 'claude-bottle', tag: 't1' });
  registry.publish(image);
});
after(() => registry[Symbol.asyncDispose]());

/** The status of a request whose target and headers are sent exactly so. */
async function statusOf(target: string, headers: readonly string[], version = '1.1'): Promise<string> {
  const lines = [`GET ${target} HTTP/${version}`, ...headers, 'Connection: close', '', ''];
  return (await raw(registry.port, lines.join('\r\n'))).slice(9, 12);
}
const authorization = () => `Authorization: ${basic(registry.reader)}`;

describe('the credential', () => {
  test('without one every path is 401 with a Basic challenge, and says nothing of what is there', async () => {
    for (const path of [
      '/v2/',
      '/v2/claude-bottle/manifests/t1',
      '/v2/other/manifests/x',
      '/v2/_catalog',
      '/',
    ]) {
      const answer = await ask(registry.host, path);
      assert.deepEqual([answer.status, answer.code], [401, 'UNAUTHORIZED'], path);
      assert.equal(answer.headers['www-authenticate'], 'Basic realm="claude-bottle"');
      assert.equal(answer.headers['docker-distribution-api-version'], 'registry/2.0');
    }
  });

  test('a wrong, cut or malformed one is 401', async () => {
    const { username, password } = registry.reader;
    const encode = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
    for (const header of [
      encode(`${username}:`),
      encode(`${username}:${password.slice(1)}`),
      encode(`${username}:${password} `),
      encode(`${username}x:${password}`),
      encode(`${username}${password}`),
      'Basic',
      'Basic !!!',
      `Bearer ${password}`,
      basic(registry.reader).replace('Basic ', ''),
    ]) {
      const answer = await ask(registry.host, '/v2/', { headers: { authorization: header } });
      assert.equal(answer.status, 401, header);
    }
  });

  test('the scheme may be written in any case', async () => {
    const header = basic(registry.reader).replace('Basic', 'basic');
    assert.equal((await ask(registry.host, '/v2/', { headers: { authorization: header } })).status, 200);
  });

  test('two registries never share one, and it has 128 bits and more', async () => {
    await using other = await EmbeddedRegistry.start({ repository: 'claude-bottle', tag: 't1' });
    assert.notEqual(other.reader.password, registry.reader.password);
    assert.ok(registry.reader.password.length >= 32);
    assert.equal((await ask(registry.host, '/v2/', { as: other.reader })).status, 401);
  });
});

describe('the host name', () => {
  test('is one of the three names of this loopback with our port', async () => {
    for (const host of [
      `127.0.0.1:${registry.port}`,
      `localhost:${registry.port}`,
      `[::1]:${registry.port}`,
    ]) {
      assert.equal(await statusOf('/v2/', [`Host: ${host}`, authorization()]), '200', host);
    }
    assert.equal(await statusOf('/v2/', [`Host: LOCALHOST:${registry.port}`, authorization()]), '200');
  });

  test('anything else is 421, whatever the credential', async () => {
    const { port } = registry;
    for (const host of [
      'evil.example',
      `evil.example:${port}`,
      '127.0.0.1',
      `127.0.0.1:${port + 1}`,
      `127.0.0.1.evil.example:${port}`,
      `localhost.:${port}`,
      `0.0.0.0:${port}`,
      '',
    ]) {
      assert.equal(await statusOf('/v2/', [`Host: ${host}`, authorization()]), '421', host);
    }
  });

  test('a missing or doubled one is refused', async () => {
    const host = `Host: ${registry.host}`;
    assert.equal(await statusOf('/v2/', [authorization()]), '400');
    assert.equal(await statusOf('/v2/', [authorization()], '1.0'), '421');
    assert.match(await statusOf('/v2/', [host, 'Host: evil.example', authorization()]), /^4/);
    assert.match(await statusOf('/v2/', ['Host: evil.example', host, authorization()]), /^4/);
  });
});

describe('the path', () => {
  test('has one spelling: encodings, dots, doubled slashes and other forms are 400', async () => {
    for (const target of [
      '/v2/claude-bottle/manifests/%74%31',
      '/v2/claude-bottle%2fmanifests/t1',
      '/v2/claude-bottle%2Fx/../manifests/t1',
      '/v2/%2e%2e/v2/claude-bottle/manifests/t1',
      '/v2/x/../claude-bottle/manifests/t1',
      '/v2/./claude-bottle/manifests/t1',
      '/v2//claude-bottle/manifests/t1',
      '//v2/claude-bottle/manifests/t1',
      '/v2/claude-bottle\\manifests/t1',
      '/v2/claude-bottle/manifests/t1/..',
      `http://${registry.host}/v2/`,
      'http://evil.example/v2/',
      '*',
    ]) {
      assert.equal(await statusOf(target, [`Host: ${registry.host}`, authorization()]), '400', target);
    }
  });

  test('a refusal is the spec’s error document', async () => {
    const answer = await ask(registry.host, '/v2/a/%41/b', { as: registry.reader });
    assert.deepEqual([answer.status, answer.code], [400, 'NAME_INVALID']);
    assert.equal(answer.headers['content-type'], 'application/json');
  });
});

describe('what is not HTTP', () => {
  test('a TLS greeting is answered in plain HTTP, on which clients fall back', async () => {
    const hello = Buffer.from('16030100c8010000c40303', 'hex');
    assert.match(await raw(registry.port, Buffer.concat([hello, Buffer.alloc(64, 1)])), /^HTTP\/1\.1 400 /);
  });

  test('CONNECT opens no tunnel', async () => {
    const answer = await raw(
      registry.port,
      `CONNECT evil.example:443 HTTP/1.1\r\nHost: ${registry.host}\r\n\r\n`,
    );
    assert.equal(answer, '');
  });

  test('the registry listens on 127.0.0.1 alone', async () => {
    const { readFile } = await import('node:fs/promises');
    const port = registry.port.toString(16).toUpperCase().padStart(4, '0');
    const tables = await Promise.all(['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'latin1')));
    const bound = tables
      .join('\n')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local, , state]) => state === '0A' && local?.endsWith(`:${port}`))
      .map(([, local]) => local);
    assert.deepEqual(bound, [`0100007F:${port}`]);
  });
});
