import assert from 'node:assert/strict';
import { copyFile, open, truncate } from 'node:fs/promises';
import { test } from 'node:test';
import { Cache } from '../../src/smolmachine/cache.ts';
import { Bench } from './harness.ts';
import { verifyCache } from '../../src/smolmachine/verify.ts';
import { LayerStore } from '../../src/oci/layer-store.ts';

const damages = Number(process.env['FAULT_DAMAGES'] ?? 1000);

test(`${damages} truncations and bit flips of an artifact are all found by verify, every truncation by a hit too`, async () => {
  await using bench = await Bench.open({ megabytes: 1 });
  const packed = await bench.run(['pack', bench.project, '--json']);
  assert.equal(packed.code, 0, packed.stderr);
  const { path, key, sizes } = JSON.parse(packed.stdout) as {
    path: string;
    key: string;
    sizes: { artifact: number };
  };
  const sound = `${bench.folder}/sound`;
  await copyFile(path, sound);
  const cache = await Cache.open(bench.root);
  const layers = new LayerStore(cache.tree.layersRoot);
  const verdict = async () => {
    for await (const result of verifyCache(cache, layers))
      if (result.kind === 'smolmachine') return result.state;
    return 'absent';
  };

  let truncations = 0;
  let byVerify = 0;
  let byHit = 0;
  for (let index = 0; index < damages; index += 1) {
    const at = Math.floor(Math.random() * sizes.artifact);
    if (index % 2 === 0) {
      truncations += 1;
      await truncate(path, at);
      if ((await cache.lookup('smolmachine', key)).state === 'damaged') byHit += 1;
    } else {
      await using file = await open(path, 'r+');
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
      await file.write(Buffer.of((buffer[0] ?? 0) ^ (1 << (index % 8))), 0, 1, at);
    }
    if ((await verdict()) === 'damaged') byVerify += 1;
    await copyFile(sound, path);
  }
  console.log(
    `faults: ${damages} damages: ${byVerify} found by verify; of ${truncations} truncations ${byHit} found by a hit`,
  );
  assert.equal(byVerify, damages);
  assert.equal(byHit, truncations);
  assert.equal(await verdict(), 'ok');

  await truncate(path, Math.floor(sizes.artifact / 2));
  const anew = await bench.run(['pack', bench.project]);
  assert.equal(anew.code, 0, anew.stderr);
  assert.match(anew.stderr, /is damaged .*: making it anew/);
  assert.equal(await verdict(), 'ok');
});
