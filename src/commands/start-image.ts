import { DockerfileMissing } from '../engine/errors.ts';
import { type InspectedImage, inspectImage } from '../engine/image.ts';
import { buildOnce } from '../smolmachine/build-once.ts';
import { Cache } from '../smolmachine/cache.ts';
import { withoutControls } from '../terminal/terminal.ts';
import { PackWatcher } from './pack-watcher.ts';
import type { StartRequest } from './start-flags.ts';
import type { Prepared } from './start-plan.ts';
import type { StartSession } from './start-session.ts';
import { cachePath, nonEmpty, registryKind, type World } from './world.ts';

/** Makes the image ready for the backend, as `pack` shows it where that takes something. @throws what `Backend.prepare` does */
export async function prepareImage(
  { backend, engine }: Prepared,
  image: InspectedImage,
  session: StartSession,
  held: AsyncDisposableStack,
  request: StartRequest,
  world: World,
): Promise<string> {
  const { terminal, signal } = world;
  return await backend.prepare(image, {
    engine,
    cacheRoot: cachePath(world),
    registry: registryKind(world),
    observer: new PackWatcher(terminal, request, session.progress),
    held,
    signal,
  });
}

/** Builds or finds the image that the plan names. */
export async function obtainImage(
  { plan, engine }: Prepared,
  session: StartSession,
  request: StartRequest,
  world: World,
): Promise<InspectedImage> {
  const { signal, terminal } = world;
  const { image } = plan;
  if (image === undefined) {
    const context = plan.workspace?.root ?? process.cwd();
    throw new DockerfileMissing({ path: `${context}/Dockerfile`, context, reason: 'no-file' });
  }
  if (image.kind === 'image') return await inspectImage(engine, image.reference, { signal });
  return await session.progress.phase({ doing: 'building the image', done: 'built the image' }, async () => {
    const cache = await Cache.open(cachePath(world));
    await using scratch = await cache.scratch({ signal });
    return await buildOnce(
      {
        context: image.context,
        dockerfile: image.dockerfile,
        buildArgs: Object.entries(image.buildArgs).map(([name, value]) => ({ name, value })),
        tag: nonEmpty(world.environment['CLAUDE_BOTTLE_IMAGE']) ?? 'claude-bottle:latest',
        ...(image.target === undefined ? {} : { target: image.target }),
      },
      {
        engine,
        tree: cache.tree,
        scratch,
        signal,
        ...(request.verbose
          ? { onLine: (line: string) => terminal.stderr.write(`  ${withoutControls(line)}\n`) }
          : {}),
      },
    );
  });
}
