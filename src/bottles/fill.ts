import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { HomeFile } from '../agents/home-file.ts';
import { homeTar } from '../agents/home-tar.ts';
import { type Account, type Bottle, inside } from '../backends/backend.ts';
import { tarOf, type TarEntry } from '../tar/write.ts';
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
 * Puts the agent's system prompt, its files and the workspace into a bottle that has not started; the latter two belong to its user. The workspace is
 * staged while the bottle is still being made.
 */
export async function fillBottle(
  making: Promise<Bottle>,
  order: LaunchOrder,
  files: readonly HomeFile[],
  places: BottlePlaces,
  signal: AbortSignal,
): Promise<Filled> {
  const placing = placePrompt(making, order, signal);
  // Looking into the image takes a moment. Nobody asks whose files there are where there are none.
  const isAsked = files.length > 0 || order.workspace !== undefined || order.imagePresets.length > 0;
  if (!isAsked && order.isRoot) {
    await placing;
    return { account: undefined, base: undefined, notes: [], warnings: [] };
  }
  const halt = new AbortController();
  const either = AbortSignal.any([signal, halt.signal]);
  const owner = making.then((bottle) => bottle.account(either));
  const staging =
    order.workspace === undefined ? Promise.resolve(undefined) : stage(order, owner, places, either);
  try {
    const [bottle, account, staged] = await Promise.all([making, owner, staging, placing]);
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
    await Promise.allSettled([making, owner, staging, placing]);
    throw error;
  }
}

/** The system prompt is for every program in the bottle to read, and its user cannot change it. */
async function placePrompt(
  making: Promise<Bottle>,
  { agent }: LaunchOrder,
  signal: AbortSignal,
): Promise<void> {
  const bottle = await making;
  if (agent.prompt.trim() === '') return;
  const owner = { uid: 0, gid: 0, modified: new Date() };
  await bottle.copyIn(tarOf(promptEntries(agent.prompt), owner), '/', signal);
}

/** Without an entry for /etc, which stays as the image has it: it may be a symbolic link there. */
async function* promptEntries(prompt: string): AsyncGenerator<TarEntry> {
  const path = inside.systemPrompt.slice(1);
  const content = Buffer.from(prompt);
  yield { kind: 'directory', path: dirname(path), mode: 0o755 };
  yield { kind: 'file', path, mode: 0o644, size: content.length, body: () => once(content) };
}

async function* once(content: Uint8Array): AsyncGenerator<Uint8Array> {
  yield content;
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
