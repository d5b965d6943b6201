import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import * as v from 'valibot';

const Listed = v.object({
  name: v.string(),
  version: v.string(),
  store: v.picklist(['graph-driver', 'containerd', 'podman']),
  /** How it is reached, when it runs. */
  command: v.optional(v.string()),
  env: v.record(v.string(), v.string()),
  /** Why it does not run, though its packages are here. */
  failed: v.optional(v.string()),
  /** Why its packages are not here. */
  unavailable: v.optional(v.string()),
});
export type ListedEngine = v.InferOutput<typeof Listed>;

/** The engines that script/test-engines started, or could not. */
export function listedEngines(): ListedEngine[] {
  const path = process.env.CLAUDE_BOTTLE_TEST_ENGINES;
  assert.ok(path !== undefined, 'these tests are run by script/test-engines, which starts the engines');
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  return lines.map((line) => v.parse(Listed, JSON.parse(line)));
}
