import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  copyFile,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { Digest } from '../../src/oci/digest.ts';
import { LayerDamaged } from '../../src/oci/errors.ts';
import { sealOf } from '../../src/oci/layer-seal.ts';
import type { LayerStore } from '../../src/oci/layer-store.ts';
import { tarOf } from './tar-builder.ts';
import { chunked, temporaryStore } from './temporary.ts';

const tar = tarOf([{ path: 'a', data: Buffer.alloc(30_000, 'a') }]);
const compressed = gzipSync(tar);

function digestOf(bytes: Buffer): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Changes four bytes in place, and leaves size and modification time as they were. */
async function damage(path: string): Promise<void> {
  const before = await stat(path, { bigint: true });
  await using file = await open(path, 'r+');
  // Until the clock of the file system has ticked since the layer was stored.
  do {
    await file.write('oops', 1000);
    await utimes(path, before.atime, before.mtime);
  } while ((await file.stat({ bigint: true })).ctimeNs === before.ctimeNs);
}

describe('the layer store reads a layer again before it is used or said to be here', () => {
  const ways: Record<string, (store: LayerStore, diffId: Digest) => Promise<unknown>> = {
    has: async (store, diffId) => assert.equal(await store.has(diffId), false),
    'receivedAs, plain': async (store, diffId) => assert.equal(await store.receivedAs(diffId), undefined),
    'receivedAs, compressed': async (store) =>
      assert.equal(await store.receivedAs(digestOf(compressed)), undefined),
    open: async (store, diffId) => assert.rejects(store.open(diffId), LayerDamaged),
  };
  for (const [way, use] of Object.entries(ways)) {
    test(`once its file was changed, and gives up one that is damaged: ${way}`, async () => {
      await using stored = await temporaryStore();
      const { store, scratch, root } = stored;
      const { diffId } = await store.ingest(chunked(compressed), { scratch });
      await damage(join(root, `${diffId.slice(7)}.tar`));
      await use(store, diffId);
      assert.deepEqual(await store.list(), []);
      assert.deepEqual(await readdir(root), ['received']);
      assert.deepEqual(await readdir(join(root, 'received')), []);
      await store.ingest(chunked(tar), { scratch });
      assert.equal(await store.has(diffId), true);
    });
  }

  test('once it was copied, restored or touched, and then takes it for right again', async () => {
    await using use = await temporaryStore();
    const { store, scratch, root } = use;
    const { diffId } = await store.ingest(chunked(tar), { scratch });
    const path = join(root, `${diffId.slice(7)}.tar`);
    const sealPath = join(root, `${diffId.slice(7)}.seal`);
    const changes: (() => Promise<unknown>)[] = [
      () => utimes(path, 1, 1),
      () => copyFile(path, `${path}.copy`).then(() => rename(`${path}.copy`, path)),
      () => rm(sealPath),
      () => truncate(sealPath, 10),
    ];
    for (const change of changes) {
      await change();
      const before = await readFile(sealPath, 'utf8').catch(() => undefined);
      assert.equal(await store.has(diffId), true);
      const after = await readFile(sealPath, 'utf8');
      assert.notEqual(after, before);
      assert.equal(await store.has(diffId), true);
      assert.equal(await readFile(sealPath, 'utf8'), after);
    }
  });

  test('after it was found damaged, even if its file looks as it did', async () => {
    await using use = await temporaryStore();
    const { store, scratch, root } = use;
    const { diffId } = await store.ingest(chunked(tar), { scratch });
    const path = join(root, `${diffId.slice(7)}.tar`);
    await damage(path);
    // As if the bytes had changed without a trace.
    await writeFile(join(root, `${diffId.slice(7)}.seal`), sealOf(await stat(path, { bigint: true })));
    assert.equal(await store.has(diffId), true);
    assert.equal(await store.verify(diffId), 'damaged');
    assert.equal(await store.has(diffId), false);
  });

  test('and stops when told to', async () => {
    await using use = await temporaryStore();
    const { store, scratch, root } = use;
    const { diffId } = await store.ingest(chunked(tar), { scratch });
    const signal = AbortSignal.abort(new Error('enough'));
    await assert.rejects(store.verify(diffId, signal), /enough/);
    await rm(join(root, `${diffId.slice(7)}.seal`));
    await assert.rejects(store.open(diffId, signal), /enough/);
    await assert.rejects(store.has(diffId, signal), /enough/);
    assert.equal(await store.has(diffId), true);
  });
});
