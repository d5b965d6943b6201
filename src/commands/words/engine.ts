import type { EngineFailure } from '../../engine/errors.ts';
import { formatDuration } from '../../terminal/units.ts';
import { anotherFeeder, at, failed, missing, quote, usage, type Words } from './words.ts';

export const engineWords: Words<EngineFailure> = {
  EngineMissing: ({ command }) => ({
    what: `there is no ${command} on this host`,
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
};
