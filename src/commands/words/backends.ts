import type { BackendFailure } from '../../backends/errors.ts';
import { failed, missing, usage, type Words } from './words.ts';

export const backendWords: Words<BackendFailure> = {
  BottleGone: ({ slug }) => ({
    what: `there is no bottle ${slug}`,
    hint: 'see what there is: claude-bottle list',
    exitCode: usage,
  }),
  BottleNotRunning: ({ slug }) => ({
    what: `the bottle ${slug} does not run`,
    hint: `see what it said: claude-bottle logs ${slug}`,
    exitCode: failed,
  }),
  BottleExists: ({ slug }) => ({
    what: `there is a bottle ${slug} already`,
    hint: `look at it: claude-bottle list; or end it: claude-bottle stop ${slug}`,
    exitCode: failed,
  }),
  BottlePathMissing: ({ slug, path }) => ({
    what: `the bottle ${slug} has no ${path}`,
    why: 'There is nothing there, or it is not what it would have to be.',
    exitCode: failed,
  }),
  UserUnknown: ({ user, image, reason }) => ({
    what: `nobody can run as ${JSON.stringify(user)} in the image ${image}`,
    why: reason,
    hint: 'add the user in the Dockerfile (RUN useradd ...), or name one that is there with `user` in the bottle',
    exitCode: usage,
  }),
  RuntimeUnknown: ({ runtime, command, known }) => ({
    what: `${command} knows no runtime ${runtime}`,
    why: known.length === 0 ? 'It does not tell which ones it has.' : `It has: ${known.join(', ')}.`,
    hint: 'leave --runtime out, or install it and tell the engine of it',
    exitCode: missing,
  }),
  GateUnreachable: ({ command, place, sign }) => ({
    what: `bottles cannot be made of containers of this ${command} engine (${sign})`,
    why: {
      'virtual-machine':
        'Its containers run in a virtual machine, and the one way out of a bottle is a socket of this host, which cannot be mounted there. This is a limitation of the docker backend; the smolmachines backend has none of it.',
      remote:
        'Its containers run on another host, and the one way out of a bottle is a socket of this one, which cannot be mounted there. This is a limitation of the docker backend.',
    }[place],
    hint: 'use an engine that runs on this host itself: Docker Engine or Podman on Linux (docker context use default)',
    exitCode: missing,
  }),
  LimitsUnheld: ({ command, limits, rootless }) => ({
    what: `${command} does not hold its containers to a limit of ${limits.join(', ')}`,
    why: rootless
      ? 'Without root it can only limit what the system has handed to this user: control groups of version 2, with these controllers delegated.'
      : 'The kernel it runs on has no control groups for that.',
    hint: 'use an engine that runs as root, or delegate the controllers to your user (systemd: Delegate=cpu memory pids)',
    exitCode: missing,
  }),
  MachineUnready: ({ slug, words }) => ({
    what: `the machine of ${slug} never became ready`,
    why: words === '' ? 'It was started, and nothing in it answered.' : words,
    hint: 'see what smolvm says of it: claude-bottle doctor',
    exitCode: failed,
  }),
  MountUnfit: ({ source }) => ({
    what: `${source} cannot be mounted into a machine`,
    why: 'Machines take directories of this host only.',
    hint: 'mount the directory it is in, or use --backend docker',
    exitCode: usage,
  }),
  FilesRefused: ({ slug, path, words }) => ({
    what: `files of ${path} in the bottle ${slug} could not be moved`,
    why: words,
    exitCode: failed,
  }),
};
