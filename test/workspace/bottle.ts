import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type CollectOptions, type Collected, collectWork } from '../../src/workspace/collect.ts';
import { inspectWorkspace } from '../../src/workspace/inspect.ts';
import type { Place } from '../../src/workspace/place.ts';
import { type Staged, stageWorkspace } from '../../src/workspace/stage.ts';
import type { Workspace } from '../../src/workspace/workspace.ts';
import { localPlace, temporary, unpack } from './repository.ts';

export const account = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

/** A staged copy of a repository, as a bottle would have it. */
export interface Bottle extends Disposable {
  readonly inside: string;
  readonly staged: Staged;
  readonly workspace: Workspace;
  readonly place: Place;
  readonly folderRepository: string;
  collect(options?: Partial<CollectOptions>, place?: Place): Promise<Collected>;
}

export async function bottle(source: string, dirty = false, copy = false): Promise<Bottle> {
  const directory = temporary();
  const scratchDirectory = join(directory.path, 'scratch');
  mkdirSync(scratchDirectory);
  const folderRepository = join(directory.path, 'folder.git');
  const workspace = await inspectWorkspace(source, { copy });
  const staged = await stageWorkspace(workspace, { dirty, scratchDirectory, account, folderRepository });
  await unpack(staged.tar(), directory.path);
  const inside = join(directory.path, 'workspace');
  const place = localPlace(inside);
  return {
    inside,
    staged,
    workspace,
    place,
    folderRepository,
    collect: (options, other = place) =>
      collectWork(other, {
        slug: 'demo-x1y2z',
        workspace,
        base: staged.base,
        uncommitted: false,
        scratchDirectory,
        folderRepository,
        directory: inside,
        identity: { name: 'Ada', email: 'ada@example.org' },
        ...options,
      }),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

/** The same place, but what it sends as a bundle is made by `forge`. */
export function forging(place: Place, forge: (argv: readonly string[]) => Buffer | Readable): Place {
  return {
    ...place,
    exec: async (argv, options) =>
      // It claims to have work, so that it is asked for it.
      argv.includes('--count') ? { code: 0, stdout: '1\n', stderr: '' } : place.exec(argv, options),
    stream: (argv, options) => {
      if (!argv.includes('bundle')) return place.stream(argv, options);
      const forged = forge(argv);
      return {
        stdout: Buffer.isBuffer(forged) ? Readable.from([forged]) : forged,
        done: Promise.resolve({ code: 0, stdout: '', stderr: '' }),
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
  };
}
