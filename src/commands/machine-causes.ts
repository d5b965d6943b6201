import type { MachineAction, MachineFailureCause } from '../smolvm/errors.ts';

/** What was being done with a machine, as in "could not … the machine". */
export const machineActions: Readonly<Record<MachineAction, string>> = {
  create: 'make the machine',
  start: 'start the machine',
  stop: 'stop the machine',
  delete: 'remove the machine',
  ls: 'list its machines',
  status: 'tell the state of the machine',
  'data-dir': 'tell where the machine is kept',
  exec: 'run a program in the machine',
  prune: 'remove the unpacked artifacts that no machine uses',
};

/** What it failed of, and what to do about it. */
export const machineCauses: Readonly<Record<MachineFailureCause, { what: string; hint: string }>> = {
  'no-kvm': {
    what: 'there is no KVM here',
    hint: 'use a host with virtualisation, or a container: --backend docker',
  },
  'kvm-permission': {
    what: 'you may not use KVM',
    hint: 'join its group and log in again: sudo usermod -aG kvm "$USER"',
  },
  'no-space': {
    what: 'a disk ran full',
    hint: 'make room (claude-bottle cache prune --older-than 7d), or keep machines elsewhere: CLAUDE_BOTTLE_SMOLVM_HOME=/path',
  },
  artifact: {
    what: 'it cannot use the artifact',
    hint: 'check the cache, damaged entries are made anew: claude-bottle cache verify --fix',
  },
  'not-running': { what: 'it does not run', hint: 'see what there is: claude-bottle list' },
  exists: {
    what: 'there is one of that name already',
    hint: 'see what there is: claude-bottle list; remove what killed runs left: claude-bottle cleanup',
  },
  timeout: {
    what: 'nothing happened for too long',
    hint: 'run it again, on a host with less load or a faster disk',
  },
  killed: {
    what: 'something killed it',
    hint: 'run it again; if that happens again, see whether memory ran out: sudo dmesg | tail',
  },
  unknown: { what: 'it said only this', hint: 'claude-bottle doctor' },
};
