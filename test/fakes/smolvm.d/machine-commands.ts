import type { Release } from './release.ts';
import type { Command, Flag } from './usage.ts';

const name: Flag = { long: 'name', value: 'NAME' };
const shortName: Flag = { ...name, short: 'n' };
const json: Flag = { long: 'json' };

/** What a machine is named by: a flag since v1.0.2, an operand before. */
function byName(release: Release, command: string, about: string, flags: readonly Flag[]): Command {
  return release.since('1.0.2')
    ? { name: command, about, flags: [shortName, ...flags], required: [['name']], operands: 'none' }
    : { name: command, about, flags, operands: 'each', operandNames: ['NAME'] };
}

/** The arguments of the subcommands of `machine` that the double plays, besides `create` (src/cli/machine.rs). */
export function machineCommand(release: Release, subcommand: string): Command | undefined {
  switch (subcommand) {
    case 'exec':
      return execCommand(release);
    case 'start':
      return startCommand(release);
    case 'stop':
      return {
        name: 'smolvm machine stop',
        about: 'Stop a running machine',
        flags: [shortName],
        operands: 'none',
      };
    case 'delete':
    case 'rm': {
      const cascade: Flag[] = release.since('1.7.0') ? [{ long: 'cascade' }] : [];
      const flags: Flag[] = [{ long: 'force', short: 'f' }, ...cascade];
      return byName(release, 'smolvm machine delete', 'Delete a machine configuration', flags);
    }
    case 'status':
      return {
        name: 'smolvm machine status',
        about: 'Show machine status',
        flags: [shortName, json],
        operands: 'none',
      };
    case 'ls':
    case 'list':
      return {
        name: 'smolvm machine ls',
        about: 'List all machines',
        flags: [{ long: 'verbose', short: 'v' }, json],
        operands: 'none',
      };
    case 'data-dir':
      return byName(release, 'smolvm machine data-dir', "Print the path of a machine's data directory", []);
    case 'cp':
      return {
        name: 'smolvm machine cp',
        about: 'Copy files between host and machine',
        flags: release.since('1.9.0')
          ? [
              { long: 'mode', value: 'OCTAL' },
              { long: 'uid', value: 'UID', largest: 4_294_967_295 },
              { long: 'gid', value: 'GID', largest: 4_294_967_295 },
            ]
          : [],
        operands: 'each',
        operandNames: ['SRC', 'DST'],
      };
    default:
      return undefined;
  }
}

function execCommand(release: Release): Command {
  const flags: Flag[] = [
    name,
    { long: 'workdir', short: 'w', value: 'DIR' },
    { long: 'env', short: 'e', value: 'KEY=VALUE', many: true },
    { long: 'timeout', value: 'DURATION', duration: true },
    { long: 'interactive', short: 'i' },
    { long: 'tty', short: 't' },
    { long: 'stream' },
  ];
  if (release.since('1.0.0')) {
    flags.push(
      { long: 'secret-env', value: 'GUEST_VAR=HOST_VAR', many: true },
      { long: 'secret-file', value: 'GUEST_VAR=PATH', many: true },
    );
  }
  if (release.since('1.3.0')) {
    flags.push({ long: 'detach', short: 'd', conflicts: ['interactive', 'tty', 'stream'] });
  }
  return {
    name: 'smolvm machine exec',
    about: 'Execute a command in a running machine',
    flags,
    operands: 'anywhere',
    operandNames: ['COMMAND'],
  };
}

function startCommand(release: Release): Command {
  const flags: Flag[] = [shortName];
  if (release.since('1.0.0')) flags.push({ long: 'forkable' });
  if (release.since('1.7.2')) {
    flags.push(
      { long: 'fork-pool-size', value: 'CLONES', largest: 4_294_967_295 },
      { long: 'cuda-vram-limit-mib', value: 'MIB', requires: 'fork-pool-size' },
    );
  }
  if (release.since('0.8.1')) {
    flags.push({ long: 'proxy', value: 'URL' }, { long: 'no-proxy', value: 'LIST' });
  }
  return { name: 'smolvm machine start', about: 'Start a machine', flags, operands: 'none' };
}
