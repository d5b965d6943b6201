import type { EngineFailure } from '../engine/errors.ts';
import { AnyFailure } from '../failure.ts';
import type { OciFailure } from '../oci/errors.ts';
import type { RegistryFailure } from '../oci/registry/errors.ts';
import type { ProcessFailure } from '../process/errors.ts';
import type { SmolmachineFailure } from '../smolmachine/errors.ts';
import type { SmolvmFailure } from '../smolvm/errors.ts';
import type { Message } from '../terminal/message.ts';
import { formatBytes, formatDuration } from '../terminal/units.ts';
import type { BadUsage } from './command-line.ts';
import type { CommandFailure } from './errors.ts';
import { packCauses } from './pack-causes.ts';

type Failure =
  | BadUsage
  | CommandFailure
  | ProcessFailure
  | EngineFailure
  | OciFailure
  | RegistryFailure
  | SmolvmFailure
  | SmolmachineFailure;

/** Exit codes, as `docs/architecture.md` lists them. */
const usage = 2;
const missing = 3;
const failed = 4;
const interrupted = 130;
/** What a shell sees of a program that SIGPIPE ended. */
const closedPipe = 141;

/** The hint for what is damaged in the cache or on its way into it, and is made anew. */
const again =
  'run the command again; if it persists, remove the cache entry: claude-bottle cache prune --all';
const anotherFeeder = 'try another way out of the engine: --feeder save (or push, export)';

/** Every failure in words: what happened, why, what to do. The compiler refuses a failure that is missing here. */
const words: { [F in Failure as F['tag']]: (fields: F['fields']) => Message } = {
  BadUsage: ({ problem, hint }) => ({ what: problem, hint, exitCode: usage }),
  BadValue: ({ what, value, expected, help }) => ({
    what: `${what} cannot be ${JSON.stringify(value)}`,
    why: `It takes ${expected}.`,
    hint: help,
    exitCode: usage,
  }),
  OutputExists: ({ path }) => ({
    what: `${path} exists already, and nothing is ever overwritten`,
    hint: 'choose another --output, or move what is there out of the way',
    exitCode: usage,
  }),
  OutputUnwritable: ({ path, code }) => ({
    what: `cannot write ${path} (${code})`,
    hint: 'choose an --output in a directory that exists and that you may write to',
    exitCode: usage,
  }),
  CacheDamaged: ({ damaged }) => ({
    what: `${damaged} of the cache's entries ${damaged === 1 ? 'is' : 'are'} damaged`,
    hint: 'remove them; they are made anew when they are needed: claude-bottle cache verify --fix',
    exitCode: failed,
  }),
  ChecksFailed: ({ failed: count }) => ({
    what: `${count} ${count === 1 ? 'check' : 'checks'} failed`,
    hint: 'the lines above say what to do; what can be mended from here: claude-bottle doctor --fix',
    exitCode: missing,
  }),

  CommandMissing: ({ command }) => ({
    what: `${command} cannot be run`,
    why: 'There is no such program on the PATH, or it is not executable.',
    hint: 'claude-bottle doctor',
    exitCode: missing,
  }),
  DeadlineExceeded: ({ command, deadlineMs }) => ({
    what: `${command} did not end within ${formatDuration(deadlineMs)} and was stopped`,
    exitCode: failed,
  }),
  Interrupted: ({ signal }) => ({
    what:
      signal === 'SIGINT'
        ? 'interrupted; nothing is left behind'
        : `stopped by ${signal}; nothing is left behind`,
    exitCode: signal === 'SIGPIPE' ? closedPipe : interrupted,
  }),
  LockBusy: ({ pid, waitedMs, path }) => ({
    what: `process ${pid} has been working on the same thing for longer than ${formatDuration(waitedMs)}`,
    why: `It holds the lock ${path}.`,
    hint: `wait for it, or look at it: ps -fp ${pid}`,
    exitCode: failed,
  }),

  NotALock: ({ path }) => ({
    what: `${path} should be a lock, and is something else`,
    why: 'Nothing of ours puts anything there but locks.',
    hint: `look at it, and move it away: ls -l '${path}'`,
    exitCode: failed,
  }),

  EngineMissing: ({ command }) => ({
    what: `there is no ${command} on this machine`,
    why: 'A container engine builds the image.',
    hint: 'install Docker Engine (Debian: sudo apt-get install docker.io), or use Podman: CLAUDE_BOTTLE_ENGINE=podman',
    exitCode: missing,
  }),
  EngineUnreachable: ({ command, endpoint, words: said }) => ({
    what: `${command} is installed, but no engine answers${at(endpoint)}`,
    ...quote(said),
    hint: 'start it (sudo systemctl start docker, or Docker Desktop), or choose another with DOCKER_HOST or docker context use',
    exitCode: missing,
  }),
  EngineDenied: ({ command, endpoint, words: said }) => ({
    what: `you may not talk to the ${command} engine${at(endpoint)}`,
    ...quote(said),
    hint: 'join its group and log in again: sudo usermod -aG docker "$USER"',
    exitCode: missing,
  }),
  EngineAnswerUnknown: ({ command, request, reason }) => ({
    what: `${command} ${request} answered in a form that is not known here`,
    why: reason,
    hint: `check what it is: ${command} version`,
    exitCode: failed,
  }),
  EngineCommandFailed: ({ command, subject, exitCode, words: said }) => ({
    what: `${command}${subject === undefined ? '' : ` ${subject}`} failed with exit code ${exitCode}`,
    why: said ?? 'It said nothing on standard error.',
    exitCode: failed,
  }),
  ImageMissing: ({ reference, words: said }) => ({
    what: `the engine has no image ${reference}`,
    why: said ?? 'It said nothing on standard error.',
    hint: `see what it has (docker images), or fetch it: docker pull ${reference}`,
    exitCode: usage,
  }),
  DockerfileMissing: ({ path, context, reason }) => ({
    what: {
      'no-context': `there is no directory ${context} to build from`,
      'no-file': `there is no Dockerfile at ${path}`,
      'not-a-file': `${path} is not a file`,
    }[reason],
    hint: 'name one with --dockerfile, another directory as the argument, or an existing image with --image',
    exitCode: usage,
  }),
  BuildFailed: ({ dockerfile, step, command, words: said, tail }) => ({
    what: `building ${dockerfile} failed${step === undefined ? '' : ` at step ${step}`}${command === undefined ? '' : `: ${command}`}`,
    why: [...tail, ...(said === undefined || tail.includes(said) ? [] : [said])].join('\n'),
    hint: 'see the whole build: add --verbose',
    exitCode: usage,
  }),
  ArchiveDamaged: ({ reference, reason }) => ({
    what: `the engine's archive of ${reference} cannot be used`,
    why: reason,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  PushFailed: ({ reference, words: said }) => ({
    what: `the engine could not push ${reference}`,
    why: said ?? 'It said nothing about why.',
    hint: anotherFeeder,
    exitCode: failed,
  }),
  FeedFailed: ({ reference, attempts }) => ({
    what: `${reference} could not be taken out of the engine`,
    why: attempts.map(({ feeder, reason }) => `${feeder}: ${reason}`).join('\n'),
    hint: 'check the engine: claude-bottle doctor',
    exitCode: failed,
  }),
  RegistryImageUnavailable: ({ image, words: said }) => ({
    what: `the registry image ${image} is not in the engine and cannot be pulled`,
    ...quote(said),
    hint: 'use the built-in registry (--registry embedded), or name an image you have: CLAUDE_BOTTLE_REGISTRY_IMAGE=…',
    exitCode: missing,
  }),
  RegistryNotStarted: ({ image, words: said }) => ({
    what: `no registry container could be started from ${image}`,
    ...quote(said),
    hint: 'use the built-in registry: --registry embedded',
    exitCode: failed,
  }),
  RegistryNotReady: ({ image, port, waitedMs, log }) => ({
    what: `the registry container of ${image} did not answer on 127.0.0.1:${port} within ${formatDuration(waitedMs)}`,
    why: log.length === 0 ? 'Its log is empty.' : `Its last words:\n${log.join('\n')}`,
    hint: 'use the built-in registry: --registry embedded',
    exitCode: failed,
  }),

  LayerMissing: ({ diffId }) => ({
    what: `layer ${diffId} is not in the cache any more`,
    hint: again,
    exitCode: failed,
  }),
  LayerDamaged: ({ diffId, reason }) => ({
    what: `the cached layer ${diffId} is damaged`,
    why: reason,
    hint: 'remove damaged layers: claude-bottle cache verify --fix',
    exitCode: failed,
  }),
  DigestMismatch: ({ subject, expected, actual }) => ({
    what: `a ${subject} from the engine is not what it was announced as`,
    why: `expected ${expected}\ngot ${actual}`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  SizeMismatch: ({ expected, actual }) => ({
    what: `a layer from the engine was announced with ${expected} bytes, but had ${actual}`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  LayerInflates: ({ received, limit }) => ({
    what: `a layer of ${formatBytes(received)} unpacks to more than ${formatBytes(limit)}`,
    why: 'Nothing honest compresses that well, so it was not unpacked any further.',
    exitCode: failed,
  }),
  LayerUndecodable: ({ format, reason }) => ({
    what: `a ${format} layer cannot be unpacked`,
    why: reason,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  TarMalformed: ({ reason, offset }) => ({
    what: `a layer is no well-formed tar archive at byte ${offset}`,
    why: reason,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  TarUnsupported: ({ feature, path }) => ({
    what: `a layer holds something that cannot be carried over truthfully: ${feature}`,
    why: `at ${path}`,
    exitCode: failed,
  }),
  PathEscapes: ({ path }) => ({
    what: `a layer names a path outside of the image: ${path}`,
    why: 'No build does that; the image is refused.',
    exitCode: failed,
  }),
  PathTooLong: ({ path, bytes, limit }) => ({
    what: `a layer holds a name of ${bytes} bytes, where Linux takes ${limit}: ${path}`,
    why: 'No engine could unpack it; the image is refused.',
    exitCode: failed,
  }),
  PathsSprawl: ({ path, limit }) => ({
    what: `the names in the image come to more than ${formatBytes(limit)} of directories that no layer describes`,
    why: `It went over at ${path}. No build makes such an image; it is refused.`,
    exitCode: failed,
  }),
  SymlinkLoop: ({ path }) => ({
    what: `symbolic links in the image lead round in a circle at ${path}`,
    exitCode: failed,
  }),
  HardlinkBroken: ({ path, target, reason }) => ({
    what: `the hard link ${path} points to ${target}, which is ${reason === 'missing' ? 'not there' : 'a directory'}`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  ConfigUnreadable: ({ reason }) => ({
    what: "the image's configuration cannot be read",
    why: reason,
    exitCode: failed,
  }),
  LayoutDamaged: ({ path, reason }) => ({
    what: `the OCI layout ${path} is damaged`,
    why: reason,
    hint: again,
    exitCode: failed,
  }),
  PushIncomplete: ({ reference, missing: what }) => ({
    what: `the engine's push of ${reference} ended without ${what}`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  PushedPlatformUnclear: ({ reference, wanted, offered }) => ({
    what: `the engine pushed no single image${wanted === undefined ? '' : ` for ${wanted}`} as ${reference}`,
    why: `It offered: ${offered.join(', ') || 'nothing'}`,
    hint: anotherFeeder,
    exitCode: failed,
  }),
  PushedLayersDiffer: ({ reference }) => ({
    what: `the layers pushed as ${reference} are not those that its configuration names`,
    hint: anotherFeeder,
    exitCode: failed,
  }),

  SmolvmMissing: ({ looked, configured }) => ({
    what: configured ? `there is no smolvm at ${looked}` : 'there is no smolvm on this machine',
    why: configured
      ? 'CLAUDE_BOTTLE_SMOLVM names it.'
      : 'It boots what pack makes, and pack needs it to make it.',
    hint: 'install smolvm 1.8.1 or newer (see its documentation), or make a flattened OCI layout instead: claude-bottle pack --format oci',
    exitCode: missing,
  }),
  SmolvmForeign: ({ path, said }) => ({
    what: `${path} is another program of the same name, not the smolvm of smol-machines`,
    why: `It says: ${said}`,
    hint: 'name the right one: CLAUDE_BOTTLE_SMOLVM=/path/to/smolvm',
    exitCode: missing,
  }),
  SmolvmBroken: ({ path, said }) => ({
    what: `${path} cannot even tell its version`,
    why: said === '' ? 'It said nothing.' : `It says: ${said}`,
    hint: 'install it anew, or name another: CLAUDE_BOTTLE_SMOLVM=/path/to/smolvm',
    exitCode: missing,
  }),
  SmolvmTooOld: ({ path, found, needed, why }) => ({
    what: `smolvm ${found} is too old; ${needed} or newer is needed`,
    why: `${why}\n(${path})`,
    hint: 'update smolvm, or make a flattened OCI layout instead: claude-bottle pack --format oci',
    exitCode: missing,
  }),
  SmolvmPackFailed: ({ version, cause, quote: said }) => ({
    what: `smolvm ${version} could not pack the image: ${packCauses[cause].what}`,
    why: said,
    hint: packCauses[cause].hint,
    exitCode: cause === 'no-kvm' || cause === 'kvm-permission' ? missing : failed,
  }),

  ArtifactDamaged: ({ path, reason, detail }) => ({
    what: `${path} is no whole .smolmachine (${reason})`,
    why: detail,
    hint: again,
    exitCode: failed,
  }),
  ArtifactMismatch: ({ path, what, expected, found }) => ({
    what: `${path} is of another ${what}`,
    why: `expected ${expected}\nfound ${found}`,
    hint: again,
    exitCode: failed,
  }),
  PlatformMismatch: ({ reference, image, host }) => ({
    what: `${reference} is an image for ${image}, and this machine is ${host}`,
    why: 'A microVM runs programs of its own machine only.',
    hint: `build or pull it for this machine: --platform ${host}`,
    exitCode: usage,
  }),
  CacheUnusable: ({ path, reason, code }) => ({
    what: `the cache directory ${path} cannot be used: ${
      {
        'not-a-directory': 'it is not a directory',
        'read-only': 'its file system is read-only',
        'no-permission': 'you may not write to it',
        'io-error': 'it cannot be written',
        'not-yours': 'it belongs to another user, or others may write to it',
      }[reason]
    } (${code})`,
    hint: 'choose another place with XDG_CACHE_HOME=/path/to/a/directory',
    exitCode: missing,
  }),
  NoSpace: ({ path, what, neededBytes, availableBytes }) => ({
    what: `there is not enough room for ${what} at ${path}`,
    why:
      neededBytes === undefined
        ? `The disk ran full; ${formatBytes(availableBytes)} are free now.`
        : `About ${formatBytes(neededBytes)} are needed, ${formatBytes(availableBytes)} are free.`,
    hint: 'make room (claude-bottle cache prune --older-than 7d), or put the cache elsewhere: XDG_CACHE_HOME=…',
    exitCode: failed,
  }),
  EntryChanged: ({ path, reason }) => ({
    what: `${path} was removed or replaced while it was being copied`,
    why: reason,
    hint: 'run the command again',
    exitCode: failed,
  }),
  EntryRefused: ({ key, reason }) => ({
    what: `what was made for cache entry ${key} is not what it should be, and was not kept`,
    why: reason,
    hint: again,
    exitCode: failed,
  }),
};

/** Turns whatever was thrown into words. What is no failure of ours is a bug, and says so. */
export function explain(error: unknown): Message {
  if (error instanceof AnyFailure && Object.hasOwn(words, error.tag)) {
    // The table is exhaustive over the tags, so the entry found by a failure's tag takes that failure's fields.
    const word = words[error.tag as keyof typeof words] as (fields: object) => Message;
    return word(error.fields);
  }
  if (error instanceof SuppressedError) {
    // What went wrong first is the news; that cleaning up failed too comes with it.
    const first = explain(error.suppressed);
    const then = explain(error.error);
    return { ...first, why: [first.why, `Then cleaning up failed: ${then.what}`].filter(Boolean).join('\n') };
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { what: 'something happened that should not: a bug in claude-bottle', why: detail, exitCode: 1 };
}

function at(endpoint: string | undefined): string {
  return endpoint === undefined ? '' : ` at ${endpoint}`;
}

function quote(said: string | undefined): { why?: string } {
  return said === undefined ? {} : { why: `It says: ${said}` };
}
