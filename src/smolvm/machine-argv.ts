import { MachinePathRefused } from './errors.ts';
import type { Smolvm } from './find.ts';
import type { MachineSpec } from './machine.ts';

/** The actions whose name was positional once. */
type NamedAction = 'create' | 'delete' | 'data-dir';

/** `machine ACTION --name NAME`, or `machine ACTION NAME` as it was before v1.0.2. */
export function namedArgv(smolvm: Smolvm, action: NamedAction, name: string): readonly string[] {
  return ['machine', action, ...(smolvm.can('namesByFlag') ? ['--name', name] : [name])];
}

/**
 * `machine create --from` (v1.8.1, src/cli/machine.rs `run_from_smolmachine`). No `--net`, no port, no policy: without
 * any of these smolvm gives the machine no network at all (src/network/launch.rs `plan_launch_network`).
 * @throws MachinePathRefused
 */
export function createArgv(smolvm: Smolvm, spec: MachineSpec): readonly string[] {
  const pairs = (flag: string, values: Readonly<Record<string, string>>) =>
    Object.entries(values).flatMap(([key, value]) => [flag, `${key}=${value}`]);
  return [
    ...namedArgv(smolvm, 'create', spec.name),
    ...['--from', spec.artifact],
    ...['--cpus', String(spec.cpus), '--mem', String(spec.memoryMiB)],
    ...['--storage', String(spec.storageGiB), '--overlay', String(spec.overlayGiB)],
    ...pairs('--label', spec.labels),
    ...spec.volumes.flatMap(({ source, target, readOnly }) => [
      '-v',
      `${plain(source)}:${plain(target)}${readOnly ? ':ro' : ''}`,
    ]),
    ...spec.sockets.flatMap(({ host, guest }) => ['--mount-socket', `${plain(host)}:${plainest(guest)}`]),
    ...pairs('-e', spec.env),
    '--',
    ...spec.command,
  ];
}

/**
 * `machine exec`, its output as it comes. A name has no short form here in any release. Without a directory a program
 * would start in the image's WORKDIR, which nothing makes and `create --from` cannot change (v1.9.3, src/cli/machine.rs).
 */
export function execArgv(
  name: string,
  argv: readonly string[],
  options: { readonly stdin: boolean },
): readonly string[] {
  const input = options.stdin ? ['-i'] : [];
  return ['machine', 'exec', '--name', name, '--workdir', '/', ...input, '--stream', '--', ...argv];
}

function plain(path: string): string {
  if (!path.startsWith('/') || path.includes(':')) throw new MachinePathRefused({ path });
  return path;
}

/** Guest paths of sockets travel in a list of their own, `a|b;c|d` (v1.9.3, src/cli/machine.rs). */
function plainest(path: string): string {
  if (/[;|]/.test(path)) throw new MachinePathRefused({ path });
  return plain(path);
}
