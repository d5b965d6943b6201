import { type BottleSpec, type ExecOptions, inside } from './backend.ts';

/** The user of a bottle, as bottle-init is told of it. */
export interface Identity {
  /** As a Dockerfile's USER; never empty. */
  readonly user: string;
  /** HOME is set by the image or for the bottle, and stays. */
  readonly keepsHome: boolean;
}

/**
 * The capabilities of a container, of which the command keeps what stands under `root`, and only when it runs as root.
 *
 * | capability | for bottle-init | for a command that is root |
 * |---|---|---|
 * | CHOWN | hands the standard streams to the user | package managers and `COPY --chown`-like work give files away |
 * | DAC_OVERRIDE | | root writes what belongs to others: installing into a user's directory |
 * | FOWNER | | changes modes and times of files of others: tar, dpkg |
 * | FSETID | | keeps set-group-id directories when modes change |
 * | KILL | | ends a daemon that runs as another user |
 * | SETGID, SETUID | becomes the user | `su`, apt's `_apt`, daemons that step down |
 * | SETPCAP | drops the others for good | |
 *
 * Left out of an engine's own default: NET_RAW (there is no network), MKNOD, AUDIT_WRITE, SYS_CHROOT, SETFCAP and
 * NET_BIND_SERVICE (engines let every user bind low ports in a network namespace of its own).
 */
export const capabilities = {
  root: ['chown', 'dac_override', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid'],
  init: ['setpcap'],
} as const;

/** What a command of a session has for its streams: three pipes, or a terminal that bottle-init makes in the bottle. */
export type SessionKind = 'pipes' | 'terminal';

/**
 * The arguments of bottle-init as the first process of a bottle.
 * @param session its standard input carries frames (docs/bottle-init.md), where whoever runs it gives it no terminal.
 */
export function initArguments(
  spec: Pick<BottleSpec, 'command' | 'workdir' | 'probes'>,
  identity: Identity,
  session?: SessionKind,
): string[] {
  return [
    ...sessionArguments(session),
    '--control',
    inside.controlSocket,
    '--relay',
    `127.0.0.1:${inside.proxyPort}=${inside.gateSocket}`,
    ...spec.probes.flatMap((probe) => ['--probe', probe]),
    ...identityArguments(identity),
    '--workdir',
    spec.workdir,
    '--',
    ...spec.command,
  ];
}

/** The arguments of bottle-init for a further program. */
export function execArguments(
  argv: readonly string[],
  identity: Identity,
  {
    as = 'image',
    workdir,
    tied = false,
    asksVariables = false,
    session,
  }: Pick<ExecOptions, 'as' | 'workdir'> & {
    readonly tied?: boolean;
    readonly asksVariables?: boolean;
    readonly session?: SessionKind;
  },
): string[] {
  return [
    'exec',
    ...sessionArguments(session),
    ...(tied ? ['--tied'] : []),
    ...(asksVariables ? ['--variables', inside.variablesSocket] : []),
    ...identityArguments(as === 'root' ? { user: '0:0', keepsHome: false } : identity),
    ...(workdir === undefined ? [] : ['--workdir', workdir]),
    '--',
    ...argv,
  ];
}

function sessionArguments(session: SessionKind | undefined): string[] {
  return session === undefined ? [] : ['--session', session];
}

function identityArguments({ user, keepsHome }: Identity): string[] {
  return [
    '--user',
    user,
    ...(keepsHome ? ['--keep-home'] : []),
    ...(isRoot(user) ? ['--keep-caps', capabilities.root.join(',')] : ['--drop-caps']),
  ];
}

/** Whether a USER names root in a way that needs no look into the image. Another name for it gets no capability. */
export function isRoot(user: string): boolean {
  return /^(root|0+|)(:.*)?$/.test(user);
}
