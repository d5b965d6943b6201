import { setTimeout as sleep } from 'node:timers/promises';
import type { Bottle } from '../backends/backend.ts';
import type { Course } from './course.ts';
import { DiskExceeded } from './errors.ts';

/** Between two looks. The engine counts files for it, so it is not free. */
const everyMs = 5_000;
/** What an agent gets to notice its end, while it may still be writing. */
const graceMs = 1_000;

/**
 * Ends a bottle that writes more than it may, where the storage itself sets no limit. Between two looks it can pass the
 * limit by what a disk takes in that time.
 */
export async function watchDisk(bottle: Bottle, limit: number, course: Course): Promise<void> {
  const { signal } = course;
  for (;;) {
    await sleep(everyMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    const began = Date.now();
    const bytes = await bottle.diskUse(signal).catch(() => 0);
    if (bytes > limit) {
      course.request({
        graceMs,
        discard: false,
        failure: new DiskExceeded({ slug: bottle.slug, bytes, limit }),
      });
    }
    // A bottle with very many files takes long to count; it is then looked at less often.
    await sleep((Date.now() - began) * 4, undefined, { signal }).catch(() => undefined);
  }
}
