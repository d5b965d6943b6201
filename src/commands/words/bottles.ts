import type { BottlesFailure } from '../../bottles/errors.ts';
import { formatBytes } from '../../terminal/units.ts';
import { failed, missing, usage, type Words } from './words.ts';

export const bottlesWords: Words<BottlesFailure> = {
  StateUnusable: ({ path, reason }) => ({
    what: `bottles cannot be kept in ${path}${reason === 'not-yours' ? ': it belongs to another user, or others may write to it' : ` (${reason})`}`,
    hint: 'choose other places: XDG_STATE_HOME=/path/to/a/directory XDG_RUNTIME_DIR=/path/to/another',
    exitCode: missing,
  }),
  ControlSocketUnusable: ({ path, code }) => ({
    what: `no socket can be made at ${path} (${code})`,
    ...(code === 'ENAMETOOLONG' ? { why: 'The path of a socket has 107 bytes at most.' } : {}),
    hint: 'choose a shorter place for sockets: XDG_RUNTIME_DIR=/run/user/$(id -u)',
    exitCode: failed,
  }),
  InitMissing: ({ path, fix }) => ({
    what: `there is no bottle-init at ${path}`,
    why: 'It is the first process of every bottle.',
    hint: fix,
    exitCode: missing,
  }),
  InitSilent: ({ words }) => ({
    what: 'the bottle ended before its command could start',
    ...(words === undefined ? {} : { why: `It said: ${words}` }),
    hint: 'check the engine: claude-bottle doctor',
    exitCode: failed,
  }),
  CommandUnrunnable: ({ command, image, status, detail, install }) => ({
    what:
      status === 127
        ? `there is no ${JSON.stringify(command)} in the image ${image}`
        : `${JSON.stringify(command)} cannot be executed in the image ${image}`,
    ...(detail === '' ? {} : { why: detail }),
    hint:
      install === undefined
        ? 'install it in the Dockerfile, or name another command: claude-bottle start -- COMMAND'
        : `add it to the Dockerfile: ${install}\nor use the image that is built in: add --template-image`,
    exitCode: failed,
  }),
  SlugUnknown: ({ slug, known }) => ({
    what:
      slug !== ''
        ? `there is no bottle ${slug}`
        : known.length === 0
          ? 'no bottle is running'
          : 'there is more than one bottle, so it has to be named',
    ...(known.length === 0 ? {} : { why: `There are: ${known.join(', ')}` }),
    hint: 'claude-bottle list',
    exitCode: usage,
  }),
  BottleNotRunning: ({ slug, state }) => ({
    what:
      {
        making: `${slug} is still being made`,
        running: `${slug} does not answer`,
        kept: `${slug} has ended; its work is still in it`,
        ended: `${slug} has ended`,
      }[state] ?? `${slug} is ${state}`,
    hint: state === 'kept' ? `claude-bottle collect ${slug} --uncommitted` : 'claude-bottle list',
    exitCode: failed,
  }),
  SupervisorGone: ({ slug, words }) => ({
    what: `the supervisor of ${slug} was killed`,
    why: words === '' ? 'The bottle is sealed: its gate is gone with it.' : words,
    hint: 'the next command saves the work that is in it and removes it: claude-bottle list',
    exitCode: failed,
  }),
  DiskExceeded: ({ slug, bytes, limit }) => ({
    what: `${slug} wrote ${formatBytes(bytes)}, more than the ${formatBytes(limit)} that it may, and was ended`,
    hint: 'give it more: --disk 50G, or resources: in its definition',
    exitCode: failed,
  }),
  MountRefused: ({ path, reason, because = '' }) => ({
    what: reason === 'missing' ? `there is no ${path} to mount` : `${path} is not mounted into a bottle`,
    ...{
      missing: {},
      engine: { why: `It reaches ${because}: whoever talks to the engine is root on this host.` },
      own: {
        why: `It reaches ${because}, which holds what keeps bottles in: policies, records, sockets, what they are made from.`,
      },
      kernel: { why: `It reaches ${because}, through which this host's kernel is steered.` },
    }[reason],
    hint: 'name the directory that the agent needs, and no more: --mount PATH:ro',
    exitCode: usage,
  }),
};
