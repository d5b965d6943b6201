import assert from 'node:assert/strict';
import { readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { reap } from '../../src/process/scratch.ts';
import type { Cache } from '../../src/smolmachine/cache.ts';
import { prune } from '../../src/smolmachine/prune.ts';
import { verifyCache } from '../../src/smolmachine/verify.ts';
import { node, temporary } from '../process/child.ts';
import { crowdImages, inspectImage, type Tally } from './crowd.ts';
import { openCache, ShelfOfLayers } from './entries.ts';

const member = `
  import { Cache } from 'src/smolmachine/cache.ts';
  import { act } from 'test/smolmachine/crowd.ts';
  const [root, rounds] = process.argv.slice(1);
  const cache = await Cache.open(root);
  const tally = { hits: 0, misses: 0, wrong: [] };
  console.log('up');
  for (let round = 0; round < Number(rounds); round += 1) await act(cache, tally);
  console.log(JSON.stringify(tally));
`;

const maker = `
  import { Cache } from 'src/smolmachine/cache.ts';
  import { crowdImages, makeImage } from 'test/smolmachine/crowd.ts';
  import { prune } from 'src/smolmachine/prune.ts';
  import { ShelfOfLayers } from 'test/smolmachine/entries.ts';
  const cache = await Cache.open(process.argv[1]);
  console.log('up');
  for (let round = 0; ; round += 1) {
    await makeImage(cache, crowdImages[round % crowdImages.length]);
    if (round % 5 === 4) await prune(cache, new ShelfOfLayers({}), { keep: 3 });
  }
`;

/** Only whole entries, and nothing of anybody who is gone. */
async function assertTidy(cache: Cache): Promise<void> {
  // Whoever died before saying whose a scratch directory is leaves one that goes when it is old.
  for (const name of await readdir(cache.tree.scratchRoot)) {
    if (name.startsWith('.')) await utimes(join(cache.tree.scratchRoot, name), 0, 0);
  }
  await reap(cache.tree.scratchRoot, async () => undefined);
  await prune(cache, new ShelfOfLayers({}), {});
  assert.deepEqual(await readdir(cache.tree.scratchRoot), []);
  assert.deepEqual(await readdir(cache.tree.locksRoot), []);
  for await (const result of verifyCache(cache, new ShelfOfLayers({}))) assert.equal(result.state, 'ok');
  const entries = await cache.list();
  for (const form of ['smolmachine', 'oci'] as const) {
    const files = await readdir(cache.tree.formRoots[form]);
    assert.equal(
      files.length,
      2 * entries.filter(({ record }) => record.form === form).length,
      files.join(' '),
    );
  }
}

describe('the cache among processes', () => {
  test('twenty that publish, look up, prune and discard at once never see a wrong hit', async () => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    const crowd = Array.from({ length: 20 }, () => node(member, [directory.path, '25']));
    const total: Tally = { hits: 0, misses: 0, wrong: [] };
    for (const child of crowd) {
      assert.equal(await child.end(), 0);
      const tally = JSON.parse(child.lines.at(-1) ?? '') as Tally;
      total.hits += tally.hits;
      total.misses += tally.misses;
      total.wrong.push(...tally.wrong);
    }
    assert.deepEqual(total.wrong, []);
    assert.ok(total.hits > 0 && total.misses > 0, JSON.stringify(total));
    await assertTidy(cache);
  });

  test('makers killed at random moments leave whole entries or none', async (t) => {
    await using directory = await temporary();
    const cache = await openCache(directory.path);
    const tally: Tally = { hits: 0, misses: 0, wrong: [] };
    const life = async () => {
      const child = node(maker, [directory.path]);
      await child.line();
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 150));
      child.kill();
      assert.equal(await child.end(), 'SIGKILL');
      for (const name of crowdImages) await inspectImage(cache, name, tally);
    };
    for (let round = 0; round < 20; round += 1) await Promise.all([life(), life()]);
    assert.deepEqual(tally.wrong, []);
    assert.ok(tally.hits > 0);
    t.diagnostic(`40 kills: ${tally.hits} whole hits, ${tally.misses} misses`);
    await assertTidy(cache);
  });

  test('one maker per key across processes: the others wait and then find it made', async () => {
    await using directory = await temporary();
    const source = `
      import { Cache } from 'src/smolmachine/cache.ts';
      import { publishArtifact, digestOf } from 'test/smolmachine/entries.ts';
      import { keyOf } from 'src/smolmachine/entry.ts';
      import { artifactFile, configDigest, sha256Of } from 'test/smolmachine/artifact-file.ts';
      import { recordOf } from 'test/smolmachine/entries.ts';
      import { writeFile } from 'node:fs/promises';
      const cache = await Cache.open(process.argv[1]);
      const key = keyOf(digestOf('app'));
      await using scratch = await cache.scratch();
      await using lock = await cache.lock(key);
      const known = await cache.lookup('smolmachine', key);
      if (known.state === 'miss') {
        const bytes = artifactFile();
        await writeFile(scratch.file('a'), bytes);
        await new Promise((resolve) => setTimeout(resolve, 100));
        await cache.publish('smolmachine', key, scratch.file('a'), { ...recordOf('app'), sha256: sha256Of(bytes) });
      }
      console.log(known.state);
    `;
    const crowd = Array.from({ length: 12 }, () => node(source, [directory.path]));
    const states = await Promise.all(crowd.map((child) => child.line()));
    for (const child of crowd) assert.equal(await child.end(), 0);
    assert.deepEqual(states.sort(), [...Array(11).fill('hit'), 'miss']);
    await assertTidy(await openCache(directory.path));
  });
});
