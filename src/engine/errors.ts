import { failure } from '../failure.ts';

/** The engine's program is not on the PATH. */
export class EngineMissing extends failure('EngineMissing')<{ command: string }> {}

/** The engine's program is there, but no engine answers behind it. `words` is what the program said, if anything. */
export class EngineUnreachable extends failure('EngineUnreachable')<{
  command: string;
  /** Where it was looked for, as far as that is known: `unix:///var/run/docker.sock`. */
  endpoint?: string;
  words?: string;
}> {}

/** An engine is there, but this user may not talk to it. */
export class EngineDenied extends failure('EngineDenied')<{
  command: string;
  endpoint?: string;
  words?: string;
}> {}

/** The engine's program answered in a form that we do not know. */
export class EngineAnswerUnknown extends failure('EngineAnswerUnknown')<{
  command: string;
  /** What was asked for: `image inspect`. */
  request: string;
  reason: string;
}> {}

/** One command of the engine failed, for a reason that only its own words tell. */
export class EngineCommandFailed extends failure('EngineCommandFailed')<{
  /** Program and subcommand: `docker tag`. */
  command: string;
  /** The image or container it was about. */
  subject?: string;
  exitCode: number;
  /** The trimmed standard error; absent when there was none. */
  words?: string;
}> {}

/** The engine has no such image. */
export class ImageMissing extends failure('ImageMissing')<{ reference: string; words?: string }> {}

/** There is nothing to build from. */
export class DockerfileMissing extends failure('DockerfileMissing')<{
  path: string;
  context: string;
  reason: 'no-context' | 'no-file' | 'not-a-file';
}> {}

/** A build failed. The tail is the end of what the build printed, without terminal codes and notices. */
export class BuildFailed extends failure('BuildFailed')<{
  dockerfile: string;
  /** Which step, as the builder counts: `3/7`. */
  step?: string;
  /** The instruction of that step: `RUN npm ci`. */
  command?: string;
  exitCode: number;
  /** The builder's own sentence about what went wrong. */
  words?: string;
  tail: readonly string[];
}> {}

/** An archive of the engine is not whole or not what it must be. */
export class ArchiveDamaged extends failure('ArchiveDamaged')<{ reference: string; reason: string }> {}

/** The engine could not push the image to our registry. */
export class PushFailed extends failure('PushFailed')<{ reference: string; words?: string }> {}

/** No way of getting the image out of the engine worked. */
export class FeedFailed extends failure('FeedFailed')<{
  reference: string;
  attempts: readonly { readonly feeder: string; readonly reason: string }[];
}> {}

/** The image of the container registry is neither in the engine nor to be had. */
export class RegistryImageUnavailable extends failure('RegistryImageUnavailable')<{
  image: string;
  words?: string;
}> {}

/** The container registry could not be started. */
export class RegistryNotStarted extends failure('RegistryNotStarted')<{
  name: string;
  image: string;
  words?: string;
}> {}

/** The container registry runs, but nobody answered on its port in time. */
export class RegistryNotReady extends failure('RegistryNotReady')<{
  name: string;
  image: string;
  port: number;
  waitedMs: number;
  /** The last lines of the container's log. */
  log: readonly string[];
}> {}

export type EngineFailure =
  | EngineMissing
  | EngineUnreachable
  | EngineDenied
  | EngineAnswerUnknown
  | EngineCommandFailed
  | ImageMissing
  | DockerfileMissing
  | BuildFailed
  | ArchiveDamaged
  | PushFailed
  | FeedFailed
  | RegistryImageUnavailable
  | RegistryNotStarted
  | RegistryNotReady;
