import { changePolicy } from './policy.ts';
import type { World } from './world.ts';

/** `claude-bottle deny`. */
export function run(argv: readonly string[], world: World): Promise<number> {
  return changePolicy('deny', argv, world);
}
