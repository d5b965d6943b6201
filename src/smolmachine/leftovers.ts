import { rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { removeContainer } from '../engine/container.ts';
import { Engine, environmentOf } from '../engine/engine.ts';
import { untagImage } from '../engine/image.ts';
import { clearDeadLocks } from '../process/lock.ts';
import { isSurelyRunning } from '../process/owner.ts';
import { type EngineAddress, type Leftover, reap } from '../process/scratch.ts';
import { stopMachinesBelow } from '../smolvm/vm-processes.ts';
import { pruneCompiled } from './compiled-code.ts';
import type { CacheTree } from './cache-tree.ts';

/**
 * Removes what processes that are provably dead left behind: their locks, scratch directories, containers, tags,
 * children and directories elsewhere; and old compiled code. What cannot be removed now is tried again by the next command.
 * @returns how many dead processes were cleaned up after.
 * @throws the reason of `signal`.
 */
export async function reapLeftovers(tree: CacheTree, signal: AbortSignal): Promise<number> {
  await clearDeadLocks(tree.locksRoot);
  await pruneCompiled(tree.compiledRoot);
  return reap(tree.scratchRoot, (leftover) => undo(leftover, signal), { signal });
}

/** An engine that does not answer must not hold up a command that has nothing to do with it. */
const patienceMs = 4_000;

async function undo(leftover: Leftover, signal: AbortSignal): Promise<void> {
  switch (leftover.kind) {
    case 'container':
      await removeContainer(await connect(leftover.engine, signal), leftover.name);
      return;
    case 'tag':
      await untagImage(await connect(leftover.engine, signal), leftover.reference);
      return;
    case 'process-group':
      // Once its leader is gone, a group's number alone no longer proves whose it is.
      if (await isSurelyRunning(leftover.owner)) kill(leftover.owner.pid);
      return;
    case 'directory':
      await stopMachinesBelow(leftover.path);
      // Only what carries our name: a journal is never a licence to remove anything else.
      if (basename(leftover.path).startsWith('claude-bottle-')) {
        await rm(leftover.path, { recursive: true, force: true });
      }
  }
}

function connect(address: EngineAddress, signal: AbortSignal): Promise<Engine> {
  return Engine.connect({
    command: address.command,
    env: environmentOf(address),
    signal: AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]),
  });
}

function kill(group: number): void {
  try {
    process.kill(-group, 'SIGKILL');
  } catch {
    // Gone in the meantime.
  }
}
