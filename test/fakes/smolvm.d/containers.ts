import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inCgroups } from './cgroup.ts';
import type { Volume } from './store.ts';

/**
 * What smolvm gives (crates/smolvm-agent/src/oci.rs `full_capabilities`) without what would reach the host, which is no
 * VM's here: SYS_ADMIN, SYS_MODULE, SYS_BOOT, SYS_RAWIO, SYS_TIME, SYS_NICE, SYS_PACCT, SYS_TTY_CONFIG, MKNOD,
 * DAC_READ_SEARCH (files by handle), BPF, PERFMON, CHECKPOINT_RESTORE, MAC_*, AUDIT_*, SYSLOG, WAKE_ALARM, BLOCK_SUSPEND.
 */
const capabilities = [
  ['CAP_CHOWN', 0],
  ['CAP_DAC_OVERRIDE', 1],
  ['CAP_FOWNER', 3],
  ['CAP_FSETID', 4],
  ['CAP_KILL', 5],
  ['CAP_SETGID', 6],
  ['CAP_SETUID', 7],
  ['CAP_SETPCAP', 8],
  ['CAP_LINUX_IMMUTABLE', 9],
  ['CAP_NET_BIND_SERVICE', 10],
  ['CAP_NET_BROADCAST', 11],
  ['CAP_NET_ADMIN', 12],
  ['CAP_NET_RAW', 13],
  ['CAP_IPC_LOCK', 14],
  ['CAP_IPC_OWNER', 15],
  ['CAP_SYS_CHROOT', 18],
  ['CAP_SYS_PTRACE', 19],
  ['CAP_LEASE', 28],
  ['CAP_SETFCAP', 31],
] as const;

/** `crun exec` with variables of its own does not look for programs unless it is told where (crun.rs). */
const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const runtimeFilesystems = [
  ['/proc', 'proc', 'proc', 'nosuid,noexec,nodev'],
  ['/dev', 'tmpfs', 'tmpfs', 'nosuid,strictatime,mode=755,size=65536k'],
  ['/dev/pts', 'devpts', 'devpts', 'nosuid,noexec,newinstance,ptmxmode=0666,mode=0620'],
  ['/dev/shm', 'tmpfs', 'shm', 'nosuid,noexec,nodev,mode=1777,size=65536k'],
  ['/dev/mqueue', 'mqueue', 'mqueue', 'nosuid,noexec,nodev'],
  ['/sys', 'sysfs', 'sysfs', 'nosuid,noexec,nodev,ro'],
  ['/run', 'tmpfs', 'tmpfs', 'nosuid,nodev,mode=0755,size=65536k'],
  ['/run/lock', 'tmpfs', 'tmpfs', 'nosuid,nodev,noexec,mode=1777,size=5120k'],
  ['/tmp', 'tmpfs', 'tmpfs', 'nosuid,nodev,mode=1777'],
] as const;

export interface MainSpec {
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly workdir: string | null;
}

export interface ContainersOptions {
  /** The machine's directory. */
  readonly directory: string;
  /** The mounted root file system. */
  readonly rootfs: string;
  readonly volumes: readonly Volume[];
  /** Files to bind over guest paths: sockets. */
  readonly binds: readonly { readonly source: string; readonly target: string }[];
  readonly cgroups: readonly string[];
  readonly hostname: string;
  /** The host's file of the program that only keeps a container alive. */
  readonly keepAlive: string;
}

const keepAliveTarget = '/run/smolvm/init';

/**
 * The containers in the guest: one main container at a time, made of the workload or, once that has ended, of a process
 * that only keeps it alive. Everything that is executed joins it (crates/smolvm-agent/src/main.rs
 * `resolve_main_container`, `ensure_main_container`).
 */
export class Containers {
  readonly directory: string;
  readonly #options: ContainersOptions;
  readonly #state: string;
  readonly #pidFile: string;
  #main: { id: string; child: ChildProcess } | undefined;
  #starting: Promise<void> | undefined;
  #count = 0;

  constructor(options: ContainersOptions, pidFile: string) {
    this.#options = options;
    this.directory = options.directory;
    this.#pidFile = pidFile;
    this.#state = join(options.directory, 'crun');
    mkdirSync(this.#state, { recursive: true });
  }

  /** Starts the main container. Rejects with the runtime's words if there is no such program. */
  async startMain(spec: MainSpec): Promise<void> {
    this.#count += 1;
    const id = `smolvm-${process.pid}-${this.#count}`;
    const bundle = join(this.#options.directory, 'bundle');
    const log = join(bundle, 'log');
    mkdirSync(bundle, { recursive: true });
    for (const file of [log, this.#pidFile]) rmSync(file, { force: true });
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(this.#config(spec)));
    const child = this.#crun(
      ['--log', log, 'run', '--pid-file', this.#pidFile, '--bundle', bundle, id],
      ['ignore', 'ignore', 'ignore'],
    );
    while (child.exitCode === null && child.signalCode === null) {
      if (this.#runs(id)) {
        this.#main = { id, child };
        return;
      }
      await sleep(1);
    }
    const words = existsSync(log) ? readFileSync(log, 'utf8').trim() : '';
    // A program that ended at once was there.
    if (words !== '') throw new Error(words);
  }

  /** Whether the container has left the runtime's hands: its process is the command, not crun any more. */
  #runs(id: string): boolean {
    try {
      const pid = readFileSync(this.#pidFile, 'latin1').trim();
      if (pid === '' || !existsSync(join(this.#state, id, 'status'))) return false;
      return !readlinkSync(`/proc/${pid}/exe`).endsWith('/crun');
    } catch {
      return false;
    }
  }

  /** The main container; the one that keeps itself alive if the workload has ended. */
  async #ensureMain(keepAlive: MainSpec): Promise<string> {
    const main = this.#main;
    if (main !== undefined && main.child.exitCode === null && main.child.signalCode === null) return main.id;
    this.#starting ??= this.startMain({ ...keepAlive, command: [keepAliveTarget, 'container-init'] }).finally(
      () => {
        this.#starting = undefined;
      },
    );
    await this.#starting;
    return this.#main?.id ?? '';
  }

  /** Runs a command in the main container; the child is the runtime, its streams are the command's. */
  async exec(
    spec: MainSpec,
    options: { stdio: StdioOptions; pidFile: string; terminal?: boolean; detached?: boolean },
  ): Promise<ChildProcess> {
    const id = await this.#ensureMain(spec);
    const env = spec.env.some((each) => each.startsWith('PATH=')) ? spec.env : [...spec.env, defaultPath];
    const args = [
      'exec',
      '--pid-file',
      options.pidFile,
      ...(options.detached === true ? ['--detach'] : []),
      ...(options.terminal === true ? ['--tty'] : []),
      ...env.flatMap((each) => ['--env', each]),
      ...(spec.workdir === null ? [] : ['--cwd', spec.workdir]),
      id,
      ...spec.command,
    ];
    return this.#crun(args, options.stdio, options.terminal === true);
  }

  #crun(args: readonly string[], stdio: StdioOptions, terminal = false): ChildProcess {
    const crun = ['crun', '--root', this.#state, '--cgroup-manager', 'disabled', ...args];
    const [program, rest] = inCgroups(this.#options.cgroups, terminal ? onTerminal(crun) : crun);
    const child = spawn(program, rest, { stdio, cwd: '/' });
    child.on('error', () => undefined);
    return child;
  }

  #config(spec: MainSpec): object {
    const { volumes, binds, rootfs, hostname, keepAlive } = this.#options;
    const held = capabilities
      .filter(([, bit]) => (ownCapabilities() >> BigInt(bit)) & 1n)
      .map(([name]) => name);
    const bind = (source: string, destination: string, options: string[]) => ({
      destination,
      type: 'bind',
      source,
      options: ['rbind', 'rprivate', 'nodev', ...options],
    });
    const env = [
      defaultPath,
      'TERM=xterm-256color',
      ...(spec.env.some((each) => each.startsWith('HOME=')) ? [] : ['HOME=/root']),
      ...spec.env,
    ];
    return {
      ociVersion: '1.0.2',
      hostname,
      root: { path: rootfs, readonly: false },
      process: {
        terminal: false,
        user: { uid: 0, gid: 0 },
        args: spec.command,
        env,
        cwd: spec.workdir ?? '/',
        capabilities: { bounding: held, effective: held, permitted: held, inheritable: [], ambient: [] },
        rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
        noNewPrivileges: false,
        oomScoreAdj: 800,
      },
      mounts: [
        ...runtimeFilesystems.map(([destination, type, source, options]) => ({
          destination,
          type,
          source,
          options: options.split(','),
        })),
        ...(spec.command[0] === keepAliveTarget ? [bind(keepAlive, keepAliveTarget, ['ro'])] : []),
        ...volumes.map(({ source, target, readOnly }) => bind(source, target, readOnly ? ['rro'] : [])),
        ...binds.map(({ source, target }) => bind(source, target, [])),
      ],
      linux: {
        namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }],
        // Root here is root of the host to the kernel's switches.
        maskedPaths: [
          '/proc/kcore',
          '/proc/keys',
          '/proc/scsi',
          '/proc/sysrq-trigger',
          '/proc/acpi',
          '/sys/firmware',
        ],
        readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys'],
      },
    };
  }
}

/** util-linux' `script` has the terminal that crun wants to be on; it has 24 lines of 80, whatever the user's has. */
function onTerminal(crun: readonly string[]): string[] {
  const quoted = crun.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  return ['script', '-qefE', 'never', '-c', `stty raw -echo rows 24 cols 80; exec ${quoted}`, '/dev/null'];
}

let mask: bigint | undefined;
function ownCapabilities(): bigint {
  mask ??= BigInt(`0x${/^CapPrm:\s*(\w+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0'}`);
  return mask;
}
