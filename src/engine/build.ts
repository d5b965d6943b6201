import { randomBytes } from 'node:crypto';
import { readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { Scratch } from '../process/scratch.ts';
import { BuildLog } from './build-log.ts';
import { type Engine, signalOf } from './engine.ts';
import { BuildFailed, DockerfileMissing, EngineDenied, EngineUnreachable } from './errors.ts';
import { imageExists, imageId } from './image.ts';

/** What is built. */
export interface BuildSource {
  /** A directory. */
  readonly context: string;
  /** A path; `Dockerfile` in the context by default. */
  readonly dockerfile?: string;
  readonly buildArgs?: readonly { readonly name: string; readonly value: string }[];
  readonly target?: string;
  readonly noCache?: boolean;
  /** `linux/arm64`; the engine's own by default. */
  readonly platform?: string;
  /** The name that the image gets. */
  readonly tag: string;
}

export interface BuildOptions extends BuildSource {
  readonly scratch: Scratch;
  /** Every line that the builder prints, as it comes. */
  readonly onLine?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/**
 * Both builders of Docker take the same flags, so what differs goes through the environment, which the one that does
 * not know it ignores: no provenance, which would give every build of the same inputs another id on the containerd
 * store (buildx, BUILDX_NO_DEFAULT_ATTESTATIONS), and output that is lines.
 */
const builderEnvironment = { BUILDX_NO_DEFAULT_ATTESTATIONS: '1', BUILDKIT_PROGRESS: 'plain' };

/**
 * Builds an image and returns its id: that of this very build, even when another one takes the same tag meanwhile.
 * Identical inputs give the identical id, as far as the engine's layer cache reaches.
 * @throws DockerfileMissing, BuildFailed, EngineUnreachable or EngineDenied.
 */
export async function buildImage(engine: Engine, options: BuildOptions): Promise<Digest> {
  const dockerfile = await requireDockerfile(options);
  const idFile = options.scratch.file(`build-${randomBytes(4).toString('hex')}.id`);
  const log = new BuildLog();
  try {
    const result = await engine.run(argumentsOf(options, dockerfile, idFile), {
      env: { ...argumentEnvironment(options), ...builderEnvironment },
      onLine: (line) => {
        log.line(line);
        options.onLine?.(line);
      },
      ...signalOf(options.signal),
    });
    if (result.code !== 0) {
      const failed = engine.failure('build', result);
      if (failed instanceof EngineUnreachable || failed instanceof EngineDenied) throw failed;
      throw new BuildFailed({ dockerfile, exitCode: result.code, ...log.stop() });
    }
    return await idOf(engine, idFile, options);
  } finally {
    await rm(idFile, { force: true });
  }
}

/**
 * Values of build arguments go through the environment, where other users do not see them; the CLI takes an argument
 * without a value from there (docker build, `--build-arg`). Names that the CLI itself heeds have to be spelled out.
 */
function argumentEnvironment({ buildArgs = [] }: BuildSource): Record<string, string> {
  return Object.fromEntries(
    buildArgs.filter(({ name }) => !isHeeded(name)).map(({ name, value }) => [name, value]),
  );
}

const heeded =
  /^(PATH|HOME|USER|SHELL|TERM|LANG|TMPDIR|NO_COLOR|(LC_|LD_|SSH_|GO|DOCKER|BUILD|COMPOSE|CONTAINER|OTEL|STORAGE|REGISTRY|PODMAN|XDG|CGO).*|.*_PROXY)$/i;

function isHeeded(name: string): boolean {
  return heeded.test(name);
}

function argumentsOf(options: BuildOptions, dockerfile: string, idFile: string): string[] {
  const { buildArgs = [], target, noCache = false, platform } = options;
  return [
    'build',
    `--file=${dockerfile}`,
    `--tag=${options.tag}`,
    '--iidfile',
    idFile,
    // The classic builder keeps the container of a failed step; BuildKit and podman have none and take the flag too.
    '--force-rm',
    ...buildArgs.map(({ name, value }) => `--build-arg=${isHeeded(name) ? `${name}=${value}` : name}`),
    ...(target === undefined ? [] : [`--target=${target}`]),
    ...(noCache ? ['--no-cache'] : []),
    ...(platform === undefined ? [] : [`--platform=${platform}`]),
    options.context,
  ];
}

/**
 * The id file is ours alone, while a tag may move. With the containerd store, buildx writes the config's digest there,
 * which that store does not find (buildx, build/result.go); then the tag has to do.
 */
async function idOf(engine: Engine, idFile: string, options: BuildOptions): Promise<Digest> {
  const written = (await readFile(idFile, 'utf8').catch(() => '')).trim();
  const id = /^[0-9a-f]{64}$/.test(written) ? `sha256:${written}` : written;
  const { store } = await engine.info();
  const call = signalOf(options.signal);
  if (isDigest(id) && (store !== 'containerd' || (await imageExists(engine, id, call)))) return id;
  return imageId(engine, options.tag, call);
}

async function requireDockerfile({ context, dockerfile }: BuildSource): Promise<string> {
  const path = dockerfile ?? join(context, 'Dockerfile');
  const kind = await kindOf(context);
  if (kind !== 'directory') throw new DockerfileMissing({ path, context, reason: 'no-context' });
  const found = await kindOf(path);
  if (found === 'absent') throw new DockerfileMissing({ path, context, reason: 'no-file' });
  if (found === 'directory') throw new DockerfileMissing({ path, context, reason: 'not-a-file' });
  return path;
}

async function kindOf(path: string): Promise<'absent' | 'directory' | 'file'> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return 'absent';
  return found.isDirectory() ? 'directory' : 'file';
}
