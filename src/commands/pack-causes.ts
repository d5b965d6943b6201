import type { PackFailureCause } from '../smolvm/errors.ts';

/** What a failed `smolvm pack create` failed of, and what to do about it. */
export const packCauses: Readonly<Record<PackFailureCause, { what: string; hint: string }>> = {
  'no-kvm': {
    what: 'there is no KVM here',
    hint: 'use a host with virtualisation, or make an OCI layout: --format oci',
  },
  'kvm-permission': {
    what: 'you may not use KVM',
    hint: 'join its group and log in again: sudo usermod -aG kvm "$USER"',
  },
  'no-space': {
    what: 'a disk ran full',
    hint: 'make room (claude-bottle cache prune --older-than 7d), or put the cache elsewhere: XDG_CACHE_HOME=…',
  },
  blob: {
    what: 'a layer could not be fetched or unpacked',
    hint: 'run it again; see what the engine has: claude-bottle doctor',
  },
  auth: { what: 'the registry refused its credential', hint: 'run it again; if it persists, update smolvm' },
  manifest: {
    what: 'the image could not be found in the registry',
    hint: 'run it again; if it persists, update smolvm',
  },
  'too-large': {
    what: 'the image is larger than this version can pack',
    hint: 'update smolvm to 1.8.3 or newer, or make the image smaller',
  },
  timeout: {
    what: 'nothing happened for too long',
    hint: 'run it again, on a host with less load or a faster disk',
  },
  'output-name': { what: 'it refused the name of its output', hint: 'update claude-bottle' },
  unknown: { what: 'it said only this', hint: 'claude-bottle doctor' },
};
