import * as v from 'valibot';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { ImageConfig } from '../oci/image.ts';
import { parseImageConfig } from '../oci/image-config.ts';
import type { Scratch } from '../process/scratch.ts';
import { fit, parseJson, number, options, recordOf } from '../schema.ts';
import { callForJson } from './call.ts';
import { type Engine, signalOf } from './engine.ts';
import { EngineAnswerUnknown, EngineDenied, EngineUnreachable, PushFailed } from './errors.ts';
import { type Transfer, transfer } from './transfer.ts';
import { wordsOf } from './words.ts';

/** An image as the engine describes it. */
export interface InspectedImage {
  /** The engine's own id: a config digest, or with the containerd store a manifest's or an index's. */
  readonly id: Digest;
  /** As it was asked for. */
  readonly reference: string;
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
  /** Digests of the plain layer tars (diff ids), bottom first. */
  readonly layers: readonly Digest[];
  readonly config: ImageConfig;
  /** Every tag on it. An image without one is gone once a tag that it is given is taken away again. */
  readonly tags: readonly string[];
  /** Bytes, as the engine counts them; with the containerd store that includes the compressed blobs. */
  readonly size: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}

/** `docker image inspect REF` and podman's. Only what is used. */
const Inspected = v.object({
  Id: v.string(),
  Architecture: v.string(),
  Os: v.string(),
  Variant: v.nullish(v.string()),
  Created: v.nullish(v.string()),
  Size: number,
  RepoTags: v.nullish(v.array(v.string())),
  Config: v.nullish(recordOf(v.unknown())),
  RootFS: v.nullish(options({ Layers: v.nullish(v.array(v.string())) })),
});

/** An image with a long history prints more than the end of a stream that is kept by default. */
const inspectBytes = 16 * 1024 * 1024;

/**
 * The engine's id of an image.
 * @throws ImageMissing or EngineCommandFailed, which name the reference and quote what the engine said, if anything.
 */
export async function imageId(engine: Engine, reference: string, options: CallOptions = {}): Promise<Digest> {
  const { stdout } = await engine.succeed(
    'image inspect',
    ['image', 'inspect', '--format', '{{.Id}}', reference],
    { subject: reference, ...signalOf(options.signal) },
  );
  return digestOf(engine, stdout.trim());
}

/**
 * Everything about an image, in one call.
 * @throws as `imageId`, and EngineAnswerUnknown.
 */
export async function inspectImage(
  engine: Engine,
  reference: string,
  options: CallOptions = {},
): Promise<InspectedImage> {
  const image = parseInspected(engine, await inspectJson(engine, reference, options));
  const config = parseImageConfig({
    architecture: image.Architecture,
    os: image.Os,
    variant: image.Variant,
    created: image.Created,
    config: image.Config,
  });
  return {
    id: digestOf(engine, image.Id),
    reference,
    architecture: config.architecture,
    os: config.os,
    ...(config.variant === undefined ? {} : { variant: config.variant }),
    layers: (image.RootFS?.Layers ?? []).map((layer) => digestOf(engine, layer)),
    config,
    tags: image.RepoTags ?? [],
    size: image.Size,
  };
}

/** Whether the engine has the image. @throws EngineCommandFailed when it cannot say. */
export async function imageExists(
  engine: Engine,
  reference: string,
  options: CallOptions = {},
): Promise<boolean> {
  const result = await engine.run(['image', 'inspect', '--format', '{{.Id}}', reference], options);
  if (result.code === 0) return true;
  const failed = engine.failure('image inspect', result, reference);
  if (failed.name === 'ImageMissing') return false;
  throw failed;
}

/** Gives an image another name. Doing it twice changes nothing. */
export async function tagImage(
  engine: Engine,
  source: string,
  target: string,
  options: CallOptions = {},
): Promise<void> {
  await engine.succeed('tag', ['tag', source, target], { subject: source, ...signalOf(options.signal) });
}

/**
 * Gives an image a name, does something with it, and takes the name away again.
 * @throws PushFailed when the image has no other name: Docker removes an image together with its last one.
 */
export async function underName<T>(
  engine: Engine,
  image: Pick<InspectedImage, 'id' | 'tags'>,
  name: string,
  options: CallOptions & { readonly scratch: Scratch },
  work: () => Promise<T>,
): Promise<T> {
  if (image.tags.length === 0) {
    throw new PushFailed({ reference: name, words: `${image.id} has no name of its own, and would be lost` });
  }
  await options.scratch.expect({ kind: 'tag', engine: engine.address, reference: name });
  try {
    await tagImage(engine, image.id, name, options);
    return await work();
  } finally {
    await options.scratch.undo(() => untagImage(engine, name));
  }
}

/**
 * Takes a name that we gave from an image; never pass an id. A name that is gone already is no error. Docker would
 * remove an image together with its last name, so a last one stays: somebody took the others away meanwhile.
 */
export async function untagImage(
  engine: Engine,
  reference: string,
  options: CallOptions = {},
): Promise<void> {
  if (engine.dialect === 'docker' && (await isLastName(engine, reference, options))) return;
  const args =
    engine.dialect === 'podman' ? ['untag', reference, reference] : ['rmi', '--no-prune', reference];
  const result = await engine.run(args, options);
  if (result.code === 0) return;
  const failed = engine.failure(args[0] ?? '', result, reference);
  if (failed.name !== 'ImageMissing') throw failed;
}

async function isLastName(engine: Engine, reference: string, options: CallOptions): Promise<boolean> {
  const args = ['image', 'inspect', '--format', '{{len .RepoTags}}', reference];
  const { stdout } = await engine.run(args, options);
  return /^[01]$/.test(stdout.trim());
}

/**
 * Pushes a name to the registry that the name begins with, with whatever credentials the engine's own tools find.
 * @throws PushFailed with the engine's words; EngineUnreachable or EngineDenied.
 */
export async function pushImage(engine: Engine, reference: string, options: CallOptions = {}): Promise<void> {
  // Docker takes plain HTTP from 127.0.0.0/8 by itself; podman never does.
  const insecure = engine.dialect === 'podman' && isLoopback(reference) ? ['--tls-verify=false'] : [];
  const result = await engine.run(['push', ...insecure, reference], options);
  if (result.code !== 0) throw pushFailure(engine, reference, result);
}

/** What a push that ended with this stands for. */
export function pushFailure(
  engine: Engine,
  reference: string,
  result: { readonly code: number; readonly stderr: string },
): Error {
  const failed = engine.failure('push', result);
  if (failed instanceof EngineUnreachable || failed instanceof EngineDenied) return failed;
  return new PushFailed({ reference, ...wordsOf(result.stderr) });
}

function isLoopback(reference: string): boolean {
  return /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?\//.test(reference);
}

/**
 * The image as an archive in the engine's own form (`docker save`).
 * @throws ImageMissing or EngineCommandFailed, when called or by `finish`.
 */
export function saveImage(
  engine: Engine,
  reference: string,
  options: CallOptions & { readonly platform?: { readonly os: string; readonly architecture: string } } = {},
): Promise<Transfer> {
  // Engines before API 1.48 ignore the parameter; those with a containerd store then leave other platforms out.
  const query =
    options.platform === undefined ? '' : `?platform=${encodeURIComponent(JSON.stringify(options.platform))}`;
  return transfer(
    engine,
    {
      request: 'image save',
      subject: reference,
      path: `/images/${reference}/get${query}`,
      args: ['save', reference],
    },
    options,
  );
}

/** The engine's own description, over its socket where there is one. */
async function inspectJson(engine: Engine, reference: string, { signal }: CallOptions): Promise<unknown> {
  if (engine.socket !== undefined && isPlain(reference)) {
    return callForJson(engine, engine.socket, {
      request: 'image inspect',
      subject: reference,
      method: 'GET',
      path: `/images/${reference}/json`,
      ...signalOf(signal),
    });
  }
  const { stdout } = await engine.succeed('image inspect', ['image', 'inspect', reference], {
    subject: reference,
    captureBytes: inspectBytes,
    ...signalOf(signal),
  });
  try {
    const [only] = fit(v.strictTuple([v.unknown()]), parseJson(stdout));
    return only;
  } catch (cause) {
    throw unknownAnswer(engine, cause);
  }
}

/** Whether a reference can stand in a path as it is; what cannot is no reference, for the engine's CLI to say so. */
function isPlain(reference: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._:@/-]*$/.test(reference) && !/(^|\/)\.{0,2}(\/|$)/.test(reference);
}

function parseInspected(engine: Engine, json: unknown): v.InferOutput<typeof Inspected> {
  try {
    return fit(Inspected, json);
  } catch (cause) {
    throw unknownAnswer(engine, cause);
  }
}

function unknownAnswer(engine: Engine, cause: unknown): EngineAnswerUnknown {
  return new EngineAnswerUnknown(
    { command: engine.command, request: 'image inspect', reason: (cause as Error).message },
    { cause },
  );
}

/** Podman's CLI leaves the algorithm out. */
function digestOf(engine: Engine, text: string): Digest {
  const digest = text.includes(':') ? text : `sha256:${text}`;
  if (isDigest(digest)) return digest;
  throw new EngineAnswerUnknown({
    command: engine.command,
    request: 'image inspect',
    reason: `${JSON.stringify(text)} is no digest`,
  });
}
