import { withoutControls } from '../terminal/terminal.ts';
import type { Places } from '../bottles/places.ts';
import { reapBottles } from '../bottles/reap.ts';
import { explain } from './failures.ts';
import type { World } from './world.ts';

/** Removes what killed supervisors left behind, and tells of work that was saved. */
export async function reapAndTell(places: Places, { terminal, signal }: World): Promise<void> {
  for (const { record, taken, error } of await reapBottles(places, signal)) {
    const { slug } = record;
    const say = (line: string) => terminal.stderr.write(`! ${withoutControls(line)}\n`);
    if (taken?.work?.branch !== undefined)
      say(`${slug} was killed; its work is the branch ${taken.work.branch}`);
    if (taken?.keptBecause !== undefined) {
      say(`${slug} was killed, and is kept: ${taken.keptBecause} (claude-bottle collect ${slug})`);
    }
    if (error !== undefined) say(`${slug} was killed, and cannot be removed yet: ${explain(error).what}`);
  }
}
