import type { ProcessFailure } from '../../process/errors.ts';
import { formatDuration } from '../../terminal/units.ts';
import { codeOfSignal, failed, missing, stoppedBy, type Words } from './words.ts';

export const processWords: Words<ProcessFailure> = {
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
  // What a command had begun and undid, it says itself.
  Interrupted: ({ signal }) => ({ what: stoppedBy(signal), exitCode: codeOfSignal(signal) }),
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
};
