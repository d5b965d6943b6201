import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { EmbeddedRegistry } from '../../../src/oci/registry/embedded-registry.ts';
import { type Answer, ask, type Question } from './ask.ts';
import { blobOf, flatImageOf, sha256 } from './flat-image-of.ts';

const bytes = randomBytes(300_007);
const image = flatImageOf(blobOf(bytes));
const absent = sha256(Buffer.from('absent'));
let registry: EmbeddedRegistry;

const get = (path: string, question: Question = {}): Promise<Answer> =>
  ask(registry.host, path, { as: registry.reader, ...question });
const repo = '/v2/claude-bottle';

before(async () => {
  registry = await EmbeddedRegistry.start({ repository: 'claude-bottle', tag: 't1' });
  registry.publish(image);
});
after(() => registry[Symbol.asyncDispose]());

// The cases of the distribution spec's conformance suite, categories Pull and Content Discovery.
describe('pull', () => {
  test('the base endpoint answers 200 and names the API version', async () => {
    const { status, headers } = await get('/v2/');
    assert.equal(status, 200);
    assert.equal(headers['docker-distribution-api-version'], 'registry/2.0');
    assert.equal((await get('/v2')).status, 200);
  });

  for (const [name, reference] of [
    ['tag', 't1'],
    ['digest', image.manifestDigest],
  ]) {
    test(`GET manifest by ${name} gives its bytes, its media type and its digest`, async () => {
      const { status, headers, body } = await get(`${repo}/manifests/${reference}`);
      assert.equal(status, 200);
      assert.deepEqual(body, image.manifest);
      assert.equal(headers['content-type'], 'application/vnd.oci.image.manifest.v1+json');
      assert.equal(headers['content-length'], String(image.manifest.length));
      assert.equal(headers['docker-content-digest'], image.manifestDigest);
    });

    test(`HEAD manifest by ${name} gives the same headers and no body`, async () => {
      const { status, headers, body } = await get(`${repo}/manifests/${reference}`, { method: 'HEAD' });
      assert.equal(status, 200);
      assert.equal(body.length, 0);
      assert.equal(headers['content-length'], String(image.manifest.length));
      assert.equal(headers['docker-content-digest'], image.manifestDigest);
      assert.equal(headers['content-type'], 'application/vnd.oci.image.manifest.v1+json');
    });
  }

  test('the media type is one whatever the client would rather have', async () => {
    const accept = 'application/vnd.docker.distribution.manifest.v2+json';
    const { status, headers } = await get(`${repo}/manifests/t1`, { headers: { accept } });
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'application/vnd.oci.image.manifest.v1+json');
  });

  for (const method of ['GET', 'HEAD']) {
    test(`${method} of a manifest that is not there is 404`, async () => {
      for (const reference of ['other', 'latest', absent, image.configDigest, 'sha512:00']) {
        const answer = await get(`${repo}/manifests/${reference}`, { method });
        assert.equal(answer.status, 404, reference);
        if (method === 'GET') assert.equal(answer.code, 'MANIFEST_UNKNOWN');
        assert.ok(Number(answer.headers['content-length']) > 0);
      }
    });

    test(`${method} of a blob that is not there is 404`, async () => {
      const answer = await get(`${repo}/blobs/${absent}`, { method });
      assert.equal(answer.status, 404);
      if (method === 'GET') assert.equal(answer.code, 'BLOB_UNKNOWN');
    });
  }

  for (const [name, digest, content, mediaType] of [
    ['config', image.configDigest, image.config, 'application/vnd.oci.image.config.v1+json'],
    ['layer', image.layer.digest, bytes, 'application/vnd.oci.image.layer.v1.tar'],
  ] as const) {
    test(`GET and HEAD of the ${name} blob agree`, async () => {
      const got = await get(`${repo}/blobs/${digest}`);
      const head = await get(`${repo}/blobs/${digest}`, { method: 'HEAD' });
      assert.deepEqual([got.status, head.status], [200, 200]);
      assert.deepEqual(got.body, content);
      assert.equal(head.body.length, 0);
      for (const { headers } of [got, head]) {
        assert.equal(headers['content-length'], String(content.length));
        assert.equal(headers['docker-content-digest'], digest);
        assert.equal(headers['content-type'], mediaType);
        assert.equal(headers['accept-ranges'], 'bytes');
      }
    });
  }

  test('the layer comes in ranges, equal to the slices of the whole', async () => {
    const size = bytes.length;
    for (const [range, start, end] of [
      ['bytes=0-0', 0, 1],
      ['bytes=65530-65545', 65530, 65546],
      ['bytes=100000-', 100000, size],
      ['bytes=-17', size - 17, size],
      [`bytes=5-${size * 2}`, 5, size],
    ] as const) {
      const answer = await get(`${repo}/blobs/${image.layer.digest}`, { headers: { range } });
      assert.equal(answer.status, 206, range);
      assert.equal(answer.headers['content-range'], `bytes ${start}-${end - 1}/${size}`);
      assert.equal(answer.headers['content-length'], String(end - start));
      assert.deepEqual(answer.body, bytes.subarray(start, end));
    }
  });

  test('a range outside of the blob is 416 and says its size', async () => {
    const answer = await get(`${repo}/blobs/${image.layer.digest}`, {
      headers: { range: `bytes=${bytes.length}-` },
    });
    assert.equal(answer.status, 416);
    assert.equal(answer.headers['content-range'], `bytes */${bytes.length}`);
    assert.equal(answer.code, 'RANGE_INVALID');
  });

  test('several ranges, nonsense, If-Range and a HEAD get the whole', async () => {
    for (const headers of [
      { range: 'bytes=0-1,5-6' },
      { range: 'bytes=x' },
      { range: 'bytes=0-1', 'if-range': '"etag"' },
    ] as Record<string, string>[]) {
      const answer = await get(`${repo}/blobs/${image.layer.digest}`, { headers });
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.body, bytes);
    }
    const head = await get(`${repo}/blobs/${image.layer.digest}`, {
      method: 'HEAD',
      headers: { range: 'bytes=0-1' },
    });
    assert.equal(head.status, 200);
    assert.equal(head.headers['content-length'], String(bytes.length));
  });

  test('a malformed digest is 400 DIGEST_INVALID', async () => {
    for (const path of ['blobs/sha256', 'manifests/:x', 'referrers/nope']) {
      const answer = await get(`${repo}/${path}`);
      assert.deepEqual([answer.status, answer.code], [400, 'DIGEST_INVALID'], path);
    }
  });
});

describe('content discovery', () => {
  const tags = async (query: string) => JSON.parse((await get(`${repo}/tags/list${query}`)).body.toString());

  test('tags are listed and paged by n and last', async () => {
    assert.deepEqual(await tags(''), { name: 'claude-bottle', tags: ['t1'] });
    assert.deepEqual((await tags('?n=0')).tags, []);
    assert.deepEqual((await tags('?n=5')).tags, ['t1']);
    assert.deepEqual((await tags('?n=1&last=s')).tags, ['t1']);
    assert.deepEqual((await tags('?last=t1')).tags, []);
    assert.equal((await get(`${repo}/tags/list?n=-1`)).status, 400);
  });

  test('referrers are an empty index, of an existing and a missing subject, filtered or not', async () => {
    for (const digest of [image.manifestDigest, absent]) {
      const answer = await get(`${repo}/referrers/${digest}`);
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['content-type'], 'application/vnd.oci.image.index.v1+json');
      assert.deepEqual(JSON.parse(answer.body.toString()).manifests, []);
      assert.equal(answer.headers['oci-filters-applied'], undefined);
    }
    const filtered = await get(`${repo}/referrers/${absent}?artifactType=a/b`);
    assert.equal(filtered.headers['oci-filters-applied'], 'artifactType');
  });
});

describe('what is not there', () => {
  test('another repository is NAME_UNKNOWN', async () => {
    for (const path of ['other/tags/list', 'claude-bottle/x/manifests/t1', `claude/blobs/${absent}`]) {
      const answer = await get(`/v2/${path}`);
      assert.deepEqual([answer.status, answer.code], [404, 'NAME_UNKNOWN'], path);
    }
  });

  test('there is no catalog and nothing beside the API', async () => {
    for (const path of ['/v2/_catalog', '/', '/v1/', '/v2/claude-bottle', '/metrics', '/token']) {
      assert.equal((await get(path)).status, 404, path);
    }
  });

  test('every write is 405 UNSUPPORTED while nothing is received', async () => {
    for (const [method, path] of [
      ['POST', `${repo}/blobs/uploads/`],
      ['PATCH', `${repo}/blobs/uploads/1`],
      ['PUT', `${repo}/blobs/uploads/1?digest=${absent}`],
      ['DELETE', `${repo}/blobs/uploads/1`],
      ['PUT', `${repo}/manifests/t1`],
      ['DELETE', `${repo}/manifests/t1`],
      ['DELETE', `${repo}/blobs/${image.layer.digest}`],
      ['POST', `${repo}/tags/list`],
      ['POST', '/v2/'],
      ['OPTIONS', `${repo}/manifests/t1`],
    ] as const) {
      const answer = await get(path, { method });
      assert.deepEqual([answer.status, answer.code], [405, 'UNSUPPORTED'], `${method} ${path}`);
      assert.notEqual(answer.headers.allow, undefined);
    }
  });

  test('before anything is published, everything is unknown', async () => {
    await using empty = await EmbeddedRegistry.start({ repository: 'a/b', tag: 't' });
    const read = (path: string) => ask(empty.host, `/v2/a/b/${path}`, { as: empty.reader });
    assert.equal((await read('manifests/t')).code, 'MANIFEST_UNKNOWN');
    assert.equal((await read(`blobs/${absent}`)).code, 'BLOB_UNKNOWN');
    assert.deepEqual(JSON.parse((await read('tags/list')).body.toString()).tags, []);
  });

  test('a repository or tag that the spec does not allow is refused at the start', async () => {
    await assert.rejects(EmbeddedRegistry.start({ repository: 'A', tag: 't' }), TypeError);
    await assert.rejects(EmbeddedRegistry.start({ repository: 'a', tag: '-t' }), TypeError);
  });
});
