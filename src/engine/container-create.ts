import { callForStatus } from './call.ts';
import type { Engine } from './engine.ts';
import { nameable } from './environment.ts';

/** A container with every limit that an engine can set. Nothing here may be secret, though only `env` is kept off argv. */
export interface ContainerPlan {
  readonly name: string;
  readonly image: string;
  readonly hostname: string;
  readonly user: string;
  readonly entrypoint: string;
  readonly arguments: readonly string[];
  readonly workdir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Its standard input can be attached to; otherwise it is empty. */
  readonly stdin: boolean;
  readonly terminal: boolean;
  /** What is added to none at all, without `CAP_`. */
  readonly capabilities: readonly string[];
  readonly runtime?: string;
  readonly memoryBytes: number;
  readonly cpus: number;
  readonly pids: number;
  readonly shmBytes: number;
  /** Soft and hard in one. */
  readonly ulimits: Readonly<Record<string, number>>;
  readonly mounts: readonly {
    readonly source: string;
    readonly target: string;
    readonly readOnly: boolean;
  }[];
  /** Mount options by path. */
  readonly tmpfs: Readonly<Record<string, string>>;
  /**
   * Leave out even what Docker does for its network `none`: a loopback of its own and nothing else there is in any case,
   * only sooner (150 ms and more), and without the engine's /etc/hosts and /etc/resolv.conf. The command line has no
   * option for it, and gets `none`.
   */
  readonly withoutNetworking: boolean;
  /** Asked of the storage driver. */
  readonly diskBytes?: number;
  /** How large one file of the log grows, and how many there are. */
  readonly log: { readonly bytes: number; readonly files: number };
}

/**
 * Creates a container without network and without new privileges, under the engine's own seccomp profile.
 * @param options.signal is looked at before and after: a creation that was begun is waited for, so that whoever removes
 *   it afterwards finds it.
 * @throws ImageMissing, EngineCommandFailed, EngineUnreachable, EngineDenied.
 */
export async function createConfined(
  engine: Engine,
  plan: ContainerPlan,
  options: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  options.signal?.throwIfAborted();
  if (engine.socket === undefined) {
    await engine.succeed('create', createArguments(engine.dialect, plan), {
      subject: plan.image,
      env: nameable(plan.env),
      deadlineMs: createMs,
    });
  } else {
    await callForStatus(engine, engine.socket, {
      request: 'create',
      subject: plan.image,
      method: 'POST',
      path: `/containers/create?name=${plan.name}`,
      json: createBody(plan),
      timeoutMs: createMs,
    });
  }
  options.signal?.throwIfAborted();
}

/** A first use of an image may have to put its layers together. */
const createMs = 120_000;

/** The body of `POST /containers/create` (moby, api/swagger.yaml). */
export function createBody(plan: ContainerPlan) {
  return {
    Image: plan.image,
    Hostname: plan.hostname,
    User: plan.user,
    Entrypoint: [plan.entrypoint],
    Cmd: plan.arguments,
    WorkingDir: plan.workdir,
    Env: Object.entries(plan.env).map(([name, value]) => `${name}=${value}`),
    Labels: plan.labels,
    Tty: plan.terminal,
    OpenStdin: plan.stdin,
    // Without a terminal the end of what is piped in must reach the command.
    StdinOnce: plan.stdin && !plan.terminal,
    AttachStdin: plan.stdin,
    AttachStdout: true,
    AttachStderr: true,
    NetworkDisabled: plan.withoutNetworking,
    StopSignal: 'SIGTERM',
    // An image's own check would run as root of the container and outside the supervision of its first process.
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      NetworkMode: 'none',
      CapDrop: ['ALL'],
      CapAdd: plan.capabilities,
      SecurityOpt: ['no-new-privileges'],
      IpcMode: 'private',
      CgroupnsMode: 'private',
      ...(plan.runtime === undefined ? {} : { Runtime: plan.runtime }),
      Memory: plan.memoryBytes,
      MemorySwap: plan.memoryBytes,
      NanoCpus: Math.round(plan.cpus * 1e9),
      PidsLimit: plan.pids,
      ShmSize: plan.shmBytes,
      Ulimits: Object.entries(plan.ulimits).map(([Name, limit]) => ({ Name, Soft: limit, Hard: limit })),
      Mounts: plan.mounts.map(({ source, target, readOnly }) => ({
        Type: 'bind',
        Source: source,
        Target: target,
        ReadOnly: readOnly,
        BindOptions: { Propagation: 'rprivate' },
      })),
      Tmpfs: plan.tmpfs,
      Init: false,
      RestartPolicy: { Name: 'no' },
      ...(plan.diskBytes === undefined ? {} : { StorageOpt: { size: String(plan.diskBytes) } }),
      LogConfig: {
        Type: 'json-file',
        Config: { 'max-size': String(plan.log.bytes), 'max-file': String(plan.log.files) },
      },
    },
  };
}

/** The same for the command line. Values of `env` come from the command's own environment, but for those that cannot. */
export function createArguments(dialect: 'docker' | 'podman', plan: ContainerPlan): string[] {
  const isPodman = dialect === 'podman';
  const byName = nameable(plan.env);
  return [
    // Podman's choice of runtime is an option of podman itself.
    ...(isPodman && plan.runtime !== undefined ? [`--runtime=${plan.runtime}`] : []),
    'create',
    ...(!isPodman && plan.runtime !== undefined ? [`--runtime=${plan.runtime}`] : []),
    '--pull=never',
    `--name=${plan.name}`,
    `--hostname=${plan.hostname}`,
    `--user=${plan.user}`,
    `--entrypoint=${plan.entrypoint}`,
    `--workdir=${plan.workdir}`,
    ...(plan.stdin ? ['--interactive'] : []),
    ...(plan.terminal ? ['--tty'] : []),
    '--network=none',
    // Podman adds its name by itself; Docker does not, and programs look themselves up.
    ...(isPodman ? [] : [`--add-host=${plan.hostname}:127.0.0.1`]),
    '--stop-signal=SIGTERM',
    '--no-healthcheck',
    '--cap-drop=ALL',
    ...plan.capabilities.map((name) => `--cap-add=${name}`),
    '--security-opt=no-new-privileges',
    '--ipc=private',
    '--cgroupns=private',
    `--memory=${plan.memoryBytes}b`,
    `--memory-swap=${plan.memoryBytes}b`,
    `--cpus=${plan.cpus}`,
    `--pids-limit=${plan.pids}`,
    `--shm-size=${plan.shmBytes}b`,
    ...Object.entries(plan.ulimits).map(([name, limit]) => `--ulimit=${name}=${limit}:${limit}`),
    ...plan.mounts.map(mountArgument),
    ...Object.entries(plan.tmpfs).map(([path, options]) => `--tmpfs=${path}:${options}`),
    ...(plan.diskBytes === undefined ? [] : [`--storage-opt=size=${plan.diskBytes}`]),
    ...(isPodman
      ? // Volumes of the image would lie outside the storage that is limited and watched.
        ['--image-volume=ignore', '--log-driver=k8s-file', `--log-opt=max-size=${plan.log.bytes}b`]
      : [
          '--log-driver=json-file',
          `--log-opt=max-size=${plan.log.bytes}`,
          `--log-opt=max-file=${plan.log.files}`,
        ]),
    ...Object.entries(plan.labels).map(([name, value]) => `--label=${name}=${value}`),
    ...Object.entries(plan.env).map(([name, value]) =>
      name in byName ? `--env=${name}` : `--env=${name}=${value}`,
    ),
    plan.image,
    ...plan.arguments,
  ];
}

/** One field of a line of comma separated values (encoding/csv), as both engines read `--mount`. */
function mountArgument({ source, target, readOnly }: ContainerPlan['mounts'][number]): string {
  const fields = [
    'type=bind',
    `source=${source}`,
    `target=${target}`,
    'bind-propagation=rprivate',
    ...(readOnly ? ['readonly'] : []),
  ];
  return `--mount=${fields.map((field) => (/[",\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field)).join(',')}`;
}
