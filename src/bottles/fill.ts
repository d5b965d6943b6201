import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { HomeFile } from '../agents/home-file.ts';
import { homeTar } from '../agents/home-tar.ts';
import { type Account, type Bottle } from '../backends/backend.ts';
import { type Staged, stageWorkspace } from '../workspace/stage.ts';
import type { StagingNote } from '../workspace/notes.ts';
import type { LaunchOrder } from './messages.ts';
import type { BottlePlaces } from './places.ts';

export interface Filled {
  /** Undefined where nothing that was asked for depends on it. */
  readonly account: Account | undefined;
  /** What work is measured against; undefined without a workspace. */
  readonly base: string | undefined;
  readonly notes: readonly StagingNote[];
  readonly warnings: readonly string[];
}

/**
 * Puts the agent's files and the workspace into a bottle that has not started, owned by its user. The workspace is staged
 * while the bottle is still being made.
 */
export async function fillBottle(
  making: Promise<Bottle>,
  order: LaunchOrder,
  files: readonly HomeFile[],
  places: BottlePlaces,
  signal: AbortSignal,
): Promise<Filled> {
  // Looking into the image takes a moment. Nobody asks whose files there are where there are none.
  const isAsked = files.length > 0 || order.workspace !== undefined || order.imagePresets.length > 0;
  if (!isAsked && order.isRoot) {
    await making;
    return { account: undefined, base: undefined, notes: [], warnings: [] };
  }
  const halt = new AbortController();
  const either = AbortSignal.any([signal, halt.signal]);
  const owner = making.then((bottle) => bottle.account(either));
  const staging =
    order.workspace === undefined ? Promise.resolve(undefined) : stage(order, owner, places, either);
  try {
    const [bottle, account, staged] = await Promise.all([making, owner, staging]);
    if (files.length > 0) {
      await bottle.copyIn(homeTar(files, account, new Date()), account.home, signal);
    }
    if (staged === undefined) return { account, base: undefined, notes: [], warnings: [] };
    await bottle.copyIn(staged.tar(), '/', signal);
    const changed = staged.changedWhileRead.map((path) => `${path} changed while it was copied`);
    return { account, base: staged.base, notes: staged.notes, warnings: changed };
  } catch (error) {
    // Nothing may still be at work when the bottle and its directories are removed.
    halt.abort(error);
    await Promise.allSettled([making, owner, staging]);
    throw error;
  }
}

async function stage(
  { workspace, dirty, gitUser }: LaunchOrder,
  account: Promise<Account>,
  places: BottlePlaces,
  signal: AbortSignal,
): Promise<Staged> {
  if (workspace === undefined) throw new Error('there is no workspace');
  const scratchDirectory = join(places.scratch, 'stage');
  await mkdir(scratchDirectory, { mode: 0o700 });
  const { name, email } = gitUser;
  return await stageWorkspace(workspace, {
    dirty,
    scratchDirectory,
    account,
    folderRepository: places.folderRepository,
    ...(name === undefined || email === undefined ? {} : { identity: { name, email } }),
    signal,
  });
}
