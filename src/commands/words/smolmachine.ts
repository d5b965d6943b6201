import type { SmolmachineFailure } from '../../smolmachine/errors.ts';
import { formatBytes } from '../../terminal/units.ts';
import { again, failed, missing, usage, type Words } from './words.ts';

export const smolmachineWords: Words<SmolmachineFailure> = {
  ArtifactDamaged: ({ path, reason, detail }) => ({
    what: `${path} is no whole .smolmachine (${reason})`,
    why: detail,
    hint: 'check the cache, damaged entries are made anew: claude-bottle cache verify --fix',
    exitCode: failed,
  }),
  ArtifactMismatch: ({ path, what, expected, found }) => ({
    what: `${path} is of another ${what}`,
    why: `expected ${expected}\nfound ${found}`,
    hint: again,
    exitCode: failed,
  }),
  PlatformMismatch: ({ reference, image, host }) => ({
    what: `${reference} is an image for ${image}, and this host is ${host}`,
    why: 'A microVM has the processor of its host.',
    hint: `build or pull it for this host: --platform ${host}`,
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
