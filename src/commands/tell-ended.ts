import { setTimeout as sleep } from 'node:timers/promises';
import { isSupervised, type KnownBottle } from '../bottles/host.ts';
import { readRecord } from '../bottles/record.ts';
import type { World } from './world.ts';

/** Waits until a bottle's supervisor has saved its work and gone, and says where that work is. */
export async function tellEnded(bottle: KnownBottle, world: World): Promise<void> {
  const { record, places } = bottle;
  while (await isSupervised(bottle)) {
    world.signal.throwIfAborted();
    await sleep(50);
  }
  const after = await readRecord(places);
  const branch = after?.work?.branch;
  const work = branch === undefined ? '' : `; its work is the branch ${branch}`;
  const kept = after?.phase === 'kept' ? `; it is kept: ${after.keptBecause ?? ''}` : '';
  world.terminal.stderr.write(`✓ ${record.slug} has ended${work}${kept}\n`);
}
