import type { SmolvmFailure } from '../../smolvm/errors.ts';
import { machineActions, machineCauses } from '../machine-causes.ts';
import { packCauses } from '../pack-causes.ts';
import { failed, missing, usage, type Words } from './words.ts';

export const smolvmWords: Words<SmolvmFailure> = {
  SmolvmMissing: ({ looked, configured }) => ({
    what: configured ? `there is no smolvm at ${looked}` : 'there is no smolvm on this host',
    why: configured
      ? 'CLAUDE_BOTTLE_SMOLVM names it.'
      : 'Machines are booted with it, and pack makes what they are booted from with it.',
    hint: 'install smolvm 1.8.1 or newer (see its documentation), or do without machines: claude-bottle start --backend docker, claude-bottle pack --format oci',
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
    hint: 'update smolvm, or do without machines: claude-bottle start --backend docker, claude-bottle pack --format oci',
    exitCode: missing,
  }),
  VirtualisationMissing: ({ device, problem, code }) =>
    problem === 'absent'
      ? {
          what: `there is no ${device} on this host`,
          why: 'Machines are booted with it.',
          hint: 'use a host with virtualisation switched on, or make the bottle of a container: --backend docker',
          exitCode: missing,
        }
      : {
          what: `${device} is there, but not for you (${code})`,
          hint: 'join its group and log in again: sudo usermod -aG kvm "$USER"',
          exitCode: missing,
        },
  SmolvmPackFailed: ({ version, cause, quote: said }) => ({
    what: `smolvm ${version} could not pack the image: ${packCauses[cause].what}`,
    why: said,
    hint: packCauses[cause].hint,
    exitCode: cause === 'no-kvm' || cause === 'kvm-permission' ? missing : failed,
  }),
  MachineFailed: ({ action, name, version, cause, quote: said }) => ({
    what: `smolvm ${version} could not ${machineActions[action]}${name === undefined ? '' : ` ${name}`}: ${machineCauses[cause].what}`,
    why: said,
    hint: machineCauses[cause].hint,
    exitCode: cause === 'no-kvm' || cause === 'kvm-permission' ? missing : failed,
  }),
  MachineNetworked: ({ name, artifact }) => ({
    what: `the machine ${name} would have had a network of its own, past the gate; it has been removed`,
    why: `Its artifact asks for one: ${artifact}`,
    hint: 'make the artifact anew, from the image: claude-bottle pack --no-cache',
    exitCode: failed,
  }),
  MachinePathRefused: ({ path }) => ({
    what: `smolvm cannot mount ${JSON.stringify(path)}`,
    why: 'It takes absolute paths without a colon (and, of sockets inside, without ";" and "|").',
    hint: 'mount it from, or at, another path',
    exitCode: usage,
  }),
  MachineHomeUnusable: ({ path, reason, limit, barrier }) => ({
    what: `smolvm's machines cannot be kept in ${path}: ${homeReasons[reason] ?? reason}`,
    ...(limit === undefined
      ? {}
      : { why: `It has ${Buffer.byteLength(path)} bytes, and ${limit} are the most.` }),
    ...(barrier === undefined ? {} : { why: `Others cannot walk through ${barrier}.` }),
    hint: 'name a directory of yours, with a short path: CLAUDE_BOTTLE_SMOLVM_HOME=/path',
    exitCode: missing,
  }),
};

const homeReasons: Readonly<Record<string, string>> = {
  'too-long': 'the paths of sockets below it would be too long',
  relative: 'it is not an absolute path',
  'not-yours': 'it is not yours alone',
  'not-a-directory': 'it is not a directory',
  'not-walkable': "root's machines run as another user, who cannot walk there",
  EACCES: 'you may not write there',
  ENOSPC: 'its disk is full',
  EROFS: 'it is on a read-only file system',
};
