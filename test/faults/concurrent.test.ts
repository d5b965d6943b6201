import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bench, countsOf } from './harness.ts';

const packers = 20;

test(`${packers} packs of one new image at once convert it once and all get the same`, async () => {
  await using bench = await Bench.open({ megabytes: 12 });
  const runs = await Promise.all(
    Array.from({ length: packers }, () => bench.run(['pack', bench.project, '--json'])),
  );
  for (const { code, stderr } of runs) assert.equal(code, 0, stderr);
  const results = runs.map(
    ({ stdout }) => JSON.parse(stdout) as { path: string; sha256: string; cached: boolean },
  );
  const conversions = results.filter(({ cached }) => !cached).length;
  const different = new Set(results.map(({ path, sha256 }) => `${path} ${sha256}`)).size;
  console.log(`faults: ${packers} packs at once: ${conversions} conversion, ${different} distinct result`);
  assert.equal(conversions, 1);
  assert.equal(different, 1);
  const left = await bench.leftovers();
  assert.deepEqual(Object.values(left).flat(), [], countsOf(left));
});
