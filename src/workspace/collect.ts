import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { UnpackLimits } from '../tar/unpack.ts';
import { checkBundle, receive } from './bundle.ts';
import { WorkRefused } from './errors.ts';
import { commitFiles } from './from-files.ts';
import { InnerGit } from './inner-git.ts';
import { excludes } from './mirror.ts';
import type { Place } from './place.ts';
import { printable } from './printable.ts';
import { publish } from './publish.ts';
import { Quarantine, type Receiver } from './quarantine.ts';
import { sizeLimit } from './size-limit.ts';
import { summarize, type WorkSummary } from './summary.ts';
import type { Identity, Workspace } from './workspace.ts';

export interface CollectOptions {
  /** Names the branch: `bottle/<slug>`. */
  readonly slug: string;
  readonly workspace: Workspace;
  /** The commit that was staged. */
  readonly base: string;
  /** Also what is not committed inside, as one more commit. */
  readonly uncommitted: boolean;
  /** A directory of ours, with room for what comes out. */
  readonly scratchDirectory: string;
  /** Of a folder: the repository that staging made, which is where the branch goes. */
  readonly folderRepository?: string;
  /** Whose name is on commits that are made here. */
  readonly identity?: Identity;
  /** Where the copy is inside. */
  readonly directory?: string;
  /** `bundleBytes`: 1 GiB by default, and never more than the disk has room for. */
  readonly limits?: { readonly bundleBytes?: number; readonly files?: UnpackLimits };
  readonly signal?: AbortSignal;
}

export interface Collected extends Partial<WorkSummary> {
  /** Absent: there was nothing to collect, and no branch was made. */
  readonly branch?: string;
  /** The branch's commit. */
  readonly tip?: string;
  readonly base: string;
  /** The repository that has the branch. */
  readonly repository: string;
  /** `files`: one commit was made of the files, whatever was committed inside. */
  readonly via: 'commits' | 'files';
  /** Why it had to be files. */
  readonly filesBecause?: 'no-git' | 'no-repository' | 'unrelated';
  /** The work does not contain the commit it started from: history was rewritten inside. */
  readonly rewritten: boolean;
  /** The branch's last commit holds what was not committed inside. */
  readonly uncommittedCommit: boolean;
  /** Files inside that differ from the last commit there and are not on the branch. Absent: that cannot be told. */
  readonly uncommittedLeft?: number;
  /** Other branches inside, and a stash, that have commits which are not on the branch. Printable. */
  readonly otherBranches: readonly string[];
  /** Devices, pipes and the like. Printable. */
  readonly leftOut: readonly string[];
}

const slugPattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * Brings the work in a place back as a new branch, and says what is in it. Whatever comes from there passes git's strict
 * checks in a quarantine first. The user's repository gets a pack and a branch, and nothing else of it changes.
 * @throws WorkRefused, WorkTooLarge, InnerGitKilled, BranchUnmakeable, ArchiveRefused, GitFailed, what `place` throws, the reason of `signal`.
 */
export async function collectWork(place: Place, options: CollectOptions): Promise<Collected> {
  if (!slugPattern.test(options.slug)) throw new TypeError(`no slug: ${options.slug}`);
  const scratch = await mkdtemp(join(options.scratchDirectory, 'collect-'));
  await using _scratch = { [Symbol.asyncDispose]: () => rm(scratch, { recursive: true, force: true }) };
  const { slug, base, signal } = options;
  const receiver = receiverOf(options);
  const quarantine = await Quarantine.create(join(scratch, 'quarantine'), receiver, base, slug, signal);
  const found = await findWork(place, quarantine, scratch, options);
  const { tip, ...rest } = found;
  const common = { base, repository: receiver.gitDir, ...rest };
  if (tip === undefined) return { ...common, rewritten: false };
  const rewritten = (await quarantine.relation(tip)) !== 'on-top';
  await quarantine.boundPaths(tip);
  const summary = await summarize(quarantine, tip);
  const branch = await publish(quarantine, receiver, tip, slug, scratch, signal);
  return { ...common, ...summary, rewritten, tip, branch };
}

const defaultDirectory = '/workspace';

type Work = Pick<
  Collected,
  'tip' | 'via' | 'filesBecause' | 'uncommittedCommit' | 'uncommittedLeft' | 'otherBranches' | 'leftOut'
>;

async function findWork(
  place: Place,
  quarantine: Quarantine,
  scratch: string,
  options: CollectOptions,
): Promise<Work> {
  const inner = new InnerGit(place, options.directory ?? defaultDirectory, options.signal);
  if (!(await inner.isThere())) return takeFiles(place, quarantine, scratch, options, 'no-git');
  const head = await inner.head();
  if (head === undefined) return takeFiles(place, quarantine, scratch, options, 'no-repository');
  if (!(await inner.has(options.base))) return takeFiles(place, quarantine, scratch, options, 'unrelated');

  const otherBranches = (await inner.otherBranches()).map((name) => printable(name));
  const uncommitted = await inner.uncommitted();
  const extra =
    options.uncommitted && uncommitted !== 0
      ? await inner.commitEverything(`Uncommitted work of bottle ${options.slug}`, options.identity)
      : undefined;
  const rest = {
    via: 'commits' as const,
    uncommittedCommit: extra !== undefined,
    otherBranches,
    leftOut: [],
    ...(extra !== undefined
      ? { uncommittedLeft: 0 }
      : uncommitted === undefined
        ? {}
        : { uncommittedLeft: uncommitted }),
  };
  if (extra === undefined && (await inner.ahead(options.base)) === 0) return rest;
  const tip = await takeCommits(inner, extra, quarantine, scratch, options);
  if ((await quarantine.relation(tip)) === 'unrelated') {
    return takeFiles(place, quarantine, scratch, options, 'unrelated');
  }
  return { ...rest, tip };
}

async function takeCommits(
  inner: InnerGit,
  extra: string | undefined,
  quarantine: Quarantine,
  scratch: string,
  { slug, base, limits, signal }: CollectOptions,
): Promise<string> {
  await using named = extra === undefined ? undefined : await inner.name(extra);
  if (extra !== undefined && named === undefined) {
    throw new WorkRefused({
      reason: 'unreadable',
      slug,
      detail: 'no name could be given to a commit inside',
    });
  }
  const ref = named?.ref ?? 'HEAD';
  const bundle = join(scratch, 'work.bundle');
  {
    await using sent = inner.bundle(ref, base);
    const limit = await sizeLimit(scratch, limits?.bundleBytes);
    await receive(sent, bundle, limit, slug, signal);
  }
  await checkBundle(bundle, ref, slug);
  return await quarantine.fetch(bundle, ref);
}

async function takeFiles(
  place: Place,
  quarantine: Quarantine,
  scratch: string,
  options: CollectOptions,
  because: NonNullable<Collected['filesBecause']>,
): Promise<Work> {
  const { workspace, signal } = options;
  const own = join(scratch, 'from-files');
  await mkdir(own);
  const location = workspace.kind === 'repository' ? workspace : undefined;
  const { tip, leftOut } = await commitFiles(place, quarantine, {
    directory: options.directory ?? defaultDirectory,
    scratch: own,
    message: `Work of bottle ${options.slug}`,
    excludes: await excludes(location, signal),
    ...(options.limits?.files === undefined ? {} : { limits: options.limits.files }),
    ...(options.identity === undefined ? {} : { identity: options.identity }),
    ...(signal === undefined ? {} : { signal }),
  });
  return {
    ...(tip === undefined ? {} : { tip }),
    via: 'files',
    filesBecause: because,
    uncommittedCommit: false,
    uncommittedLeft: 0,
    otherBranches: [],
    leftOut,
  };
}

function receiverOf({ workspace, folderRepository }: CollectOptions): Receiver {
  if (workspace.kind === 'repository') return workspace;
  if (folderRepository === undefined) throw new TypeError('a folder needs a folderRepository');
  return { gitDir: folderRepository, commonDir: folderRepository, objectFormat: 'sha1', shallow: false };
}
