import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type BuildSource, buildImage } from '../engine/build.ts';
import { type Engine, signalOf } from '../engine/engine.ts';
import { type InspectedImage, inspectImage } from '../engine/image.ts';
import { acquireLock } from '../process/lock.ts';
import type { Scratch } from '../process/scratch.ts';
import type { CacheTree } from './cache-tree.ts';

export interface BuildTools {
  readonly engine: Engine;
  readonly tree: CacheTree;
  readonly scratch: Scratch;
  readonly signal?: AbortSignal;
  readonly onLine?: (line: string) => void;
}

/**
 * Builds a source, one process at a time: the next one then finds its steps in the engine's own cache, and gets the very
 * same image instead of one of its own.
 * @throws what `buildImage` and `inspectImage` do.
 */
export async function buildOnce(source: BuildSource, tools: BuildTools): Promise<InspectedImage> {
  const { engine, tree, scratch, onLine } = tools;
  const signal = signalOf(tools.signal);
  const building = join(tree.locksRoot, `${sourceName(source, engine)}.build`);
  await using _only = await acquireLock(building, signal);
  const id = await buildImage(engine, {
    ...source,
    scratch,
    ...signal,
    ...(onLine === undefined ? {} : { onLine }),
  });
  return { ...(await inspectImage(engine, id, signal)), reference: source.tag };
}

function sourceName({ context, dockerfile = '', target = '', tag }: BuildSource, engine: Engine): string {
  const parts = [engine.endpoint ?? engine.command, context, dockerfile, target, tag];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}
