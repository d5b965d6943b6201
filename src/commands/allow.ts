import { changePolicy } from './policy.ts';
import type { World } from './world.ts';

/** `claude-bottle allow`. */
export function run(argv: readonly string[], world: World): Promise<number> {
  return changePolicy('allow', argv, world);
}
