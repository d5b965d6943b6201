import type { Release } from './release.ts';
import type { Command, Flag } from './usage.ts';

const u8 = 255;
const u32 = 4_294_967_295;

const image: Flag = { long: 'image', short: 'I', value: 'IMAGE' };
const cpus: Flag = { long: 'cpus', value: 'N', largest: u8, default: '4' };
const mem: Flag = { long: 'mem', value: 'MiB', largest: u32, default: '8192' };
const smolfile: Flag = { long: 'smolfile', alias: 's', value: 'PATH' };

/** `pack create` (src/cli/pack.rs `PackCreateCmd`). */
export function packCreateCommand(release: Release): Command {
  const flags: Flag[] = [
    { ...image, conflicts: ['from-vm'] },
    { long: 'from-vm', value: 'VM_NAME', conflicts: ['image'] },
    { long: 'output', short: 'o', value: 'PATH' },
    cpus,
    mem,
    { long: 'oci-platform', value: 'OS/ARCH' },
    { long: 'entrypoint', value: 'CMD' },
    { long: 'no-sign' },
    { long: 'single-file' },
    { long: 'stub', value: 'PATH', hidden: true },
    { long: 'lib-dir', value: 'DIR', hidden: true },
    { long: 'rootfs-dir', value: 'DIR', hidden: true },
    smolfile,
    { long: 'gpu' },
  ];
  if (release.since('0.8.1'))
    flags.push({ long: 'proxy', value: 'URL' }, { long: 'no-proxy', value: 'LIST' });
  if (release.since('1.2.0')) flags.push({ long: 'staging-dir', value: 'DIR' });
  if (release.since('1.3.4')) flags.push({ long: 'rebase-from-image', requires: 'from-vm' });
  return {
    name: 'smolvm pack create',
    about: 'Package an OCI image or VM snapshot into a self-contained executable',
    flags,
    required: [['image', 'from-vm', 'smolfile'], ['output']],
    operands: 'none',
  };
}

/** `pack run` (src/cli/pack_run.rs `PackRunCmd`). */
export function packRunCommand(release: Release): Command {
  const flags: Flag[] = [
    { long: 'sidecar', value: 'PATH' },
    { long: 'interactive', short: 'i' },
    { long: 'tty', short: 't' },
    { long: 'timeout', value: 'DURATION' },
    { long: 'workdir', short: 'w', value: 'DIR' },
    { long: 'env', short: 'e', value: 'KEY=VALUE', many: true },
    { long: 'volume', short: 'v', value: 'HOST:CONTAINER[:ro]', many: true },
    { long: 'port', short: 'p', value: 'HOST:GUEST', many: true },
    { long: 'net' },
    { long: 'net-backend', value: 'NET_BACKEND' },
    { long: 'cpus', value: 'N', largest: u8 },
    { long: 'mem', value: 'MiB', largest: u32 },
    { long: 'storage', value: 'GiB' },
    { long: 'overlay', value: 'GiB' },
    { long: 'force-extract' },
    { long: 'info' },
    { long: 'debug' },
  ];
  if (release.since('1.6.0')) flags.push({ long: 'cuda' });
  if (release.since('1.7.2')) flags.push({ long: 'auto-graph' });
  return {
    name: 'smolvm pack run',
    about: 'Run a VM from a packed .smolmachine sidecar file',
    flags,
    operands: 'anywhere',
  };
}

/** `pack prune` (src/cli/pack.rs `PackPruneCmd`), the same in every release. */
export const packPruneCommand: Command = {
  name: 'smolvm pack prune',
  about: 'Clean up cached pack extractions to free disk space',
  flags: [
    { long: 'keep', value: 'N', largest: Number.MAX_SAFE_INTEGER, default: '5' },
    { long: 'all' },
    { long: 'dry-run' },
  ],
  operands: 'none',
};

/** `machine create` (src/cli/machine.rs `CreateCmd`), as far as its help and its argument rules go. */
export function machineCreateCommand(release: Release): Command {
  const flags: Flag[] = [
    ...(release.since('1.0.2') ? [{ long: 'name', short: 'n', value: 'NAME' }] : []),
    image,
    cpus,
    mem,
    { long: 'storage', value: 'GiB' },
    { long: 'overlay', value: 'GiB' },
    { long: 'volume', short: 'v', value: 'HOST:GUEST[:ro]', many: true },
    { long: 'port', short: 'p', value: 'HOST:GUEST', many: true },
    { long: 'net' },
    { long: 'net-backend', value: 'NET_BACKEND', hidden: !release.since('1.0.2') },
    { long: 'allow-cidr', value: 'CIDR', many: true },
    { long: 'allow-host', value: 'HOSTNAME', many: true },
    { long: 'outbound-localhost-only' },
    { long: 'gpu' },
    { long: 'gpu-vram', value: 'MiB' },
    { long: 'init', value: 'COMMAND', many: true },
    { long: 'env', short: 'e', value: 'KEY=VALUE', many: true },
    { long: 'workdir', short: 'w', value: 'DIR' },
    { long: 'ssh-agent' },
    smolfile,
    { long: 'from', value: 'PATH', conflicts: ['image', 'smolfile'] },
  ];
  const later: readonly (readonly [string, Flag])[] = [
    ['1.0.0', { long: 'secret-env', value: 'GUEST_VAR=HOST_VAR', many: true }],
    ['1.0.0', { long: 'secret-file', value: 'GUEST_VAR=PATH', many: true }],
    ['1.2.0', { long: 'max-image-size', value: 'SIZE' }],
    ['1.2.5', { long: 'dns', value: 'IP' }],
    ['1.3.2', { long: 'cuda' }],
    ['1.5.0', { long: 'rosetta' }],
    ['1.6.0', { long: 'docker-socket' }],
    ['1.6.4', { long: 'expose-socket', value: 'GUEST_PATH[:HOST_PATH]', many: true }],
    ['1.6.4', { long: 'mount-socket', value: 'HOST_PATH:GUEST_PATH', many: true }],
    ['1.7.2', { long: 'auto-graph' }],
    ['1.8.0', { long: 'label', value: 'KEY=VALUE', many: true }],
    ['1.8.3', { long: 'network', value: 'NAME' }],
  ];
  flags.push(...later.filter(([version]) => release.since(version)).map(([, flag]) => flag));
  return {
    name: 'smolvm machine create',
    about: 'Create a named machine configuration',
    flags,
    operands: release.since('1.0.2') ? 'last' : 'anywhere',
  };
}

/** The subcommands of `machine`, aliases included. */
export function machineSubcommands(release: Release): readonly string[] {
  const always =
    'run exec create start stop delete rm status ls list resize update images prune shell sh cp monitor network-test data-dir';
  return [
    ...always.split(' '),
    ...(release.since('1.0.0') ? ['fork'] : []),
    ...(release.since('1.7.2') ? ['fork-release'] : []),
    ...(release.since('1.8.1') ? ['egress-events'] : []),
  ];
}

export const packSubcommands: readonly string[] = ['create', 'run', 'push', 'pull', 'inspect', 'prune'];
