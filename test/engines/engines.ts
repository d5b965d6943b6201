import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const Listed = z.object({
  name: z.string(),
  version: z.string(),
  store: z.enum(['graph-driver', 'containerd', 'podman']),
  /** How it is reached, when it runs. */
  command: z.string().optional(),
  env: z.record(z.string(), z.string()),
  /** Why it does not run, though its packages are here. */
  failed: z.string().optional(),
  /** Why its packages are not here. */
  unavailable: z.string().optional(),
});
export type ListedEngine = z.infer<typeof Listed>;

/** The engines that script/test-engines started, or could not. */
export function listedEngines(): ListedEngine[] {
  const path = process.env.CLAUDE_BOTTLE_TEST_ENGINES;
  assert.ok(path !== undefined, 'these tests are run by script/test-engines, which starts the engines');
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  return lines.map((line) => Listed.parse(JSON.parse(line)));
}
