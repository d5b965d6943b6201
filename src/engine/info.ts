import { z } from 'zod';

/** Where the layers are kept decides which way out of the engine is fast. */
export type ImageStore = 'graph-driver' | 'containerd' | 'podman';

export type Limit = 'memory' | 'processors' | 'processes';

export interface EngineInfo {
  readonly product: 'docker' | 'podman';
  readonly version: string;
  readonly store: ImageStore;
  /** Storage driver, as the engine calls it: `overlay2`. */
  readonly driver: string;
  /** What lies below the storage driver, as docker tells it: `extfs`, `xfs`. */
  readonly backingFilesystem?: string;
  /** The OCI runtimes that docker lists; podman lists none. */
  readonly runtimes: readonly string[];
  /** The one that is used when none is named. */
  readonly defaultRuntime: string;
  /** Limits that the engine would take and not hold, as those of rootless engines without delegated control groups. */
  readonly unheld: readonly Limit[];
  readonly operatingSystem: string;
  readonly rootless: boolean;
  /** The engine is not reached through this machine's own socket or storage. One in a local VM may still say false. */
  readonly remote: boolean;
}

/** `docker info --format '{{json .}}'` (moby, api/types/system/info.go). Only what is used. */
const DockerInfo = z.object({
  ServerVersion: z.string().default(''),
  Driver: z.string().default(''),
  DriverStatus: z.array(z.array(z.string())).nullish(),
  OperatingSystem: z.string().default(''),
  SecurityOptions: z.array(z.string()).nullish(),
  MemoryLimit: z.boolean().nullish(),
  CpuCfsQuota: z.boolean().nullish(),
  PidsLimit: z.boolean().nullish(),
  Runtimes: z.record(z.string(), z.unknown()).nullish(),
  DefaultRuntime: z.string().nullish(),
  /** How CLIs before 23 report an engine that does not answer, with exit status 0. */
  ServerErrors: z.array(z.string()).nullish(),
});

/** `podman info --format '{{json .}}'` (podman, libpod/define/info.go). Only what is used. */
const PodmanInfo = z.object({
  host: z.object({
    remoteSocket: z.object({ path: z.string().optional(), exists: z.boolean().optional() }).nullish(),
    serviceIsRemote: z.boolean().optional(),
    security: z.object({ rootless: z.boolean().optional() }).optional(),
    cgroupVersion: z.string().nullish(),
    cgroupControllers: z.array(z.string()).nullish(),
    ociRuntime: z.object({ name: z.string().default('') }).nullish(),
    distribution: z.object({ distribution: z.string(), version: z.string() }).partial().optional(),
  }),
  store: z.object({ graphDriverName: z.string() }),
  version: z.object({ Version: z.string() }),
});

type PodmanHost = z.infer<typeof PodmanInfo>['host'];

export type ParsedInfo =
  | {
      readonly dialect: 'docker';
      readonly info: Omit<EngineInfo, 'remote'>;
      readonly errors: readonly string[];
    }
  | { readonly dialect: 'podman'; readonly info: EngineInfo; readonly socket: string | undefined };

/**
 * Reads what `info` printed. The form of the answer tells the dialect, since Debian's `podman-docker` installs a
 * `docker` that is podman. `undefined` when it is neither.
 */
export function parseInfo(text: string): ParsedInfo | undefined {
  return understood(jsonOf(text));
}

/** The same of an answer that is taken apart already: docker's CLI prints what its API says. */
export function understood(json: unknown): ParsedInfo | undefined {
  const podman = PodmanInfo.safeParse(json).data;
  if (podman !== undefined) return { dialect: 'podman', ...fromPodman(podman) };
  const docker = DockerInfo.safeParse(json).data;
  if (docker === undefined) return undefined;
  return { dialect: 'docker', info: fromDocker(docker), errors: docker.ServerErrors ?? [] };
}

function fromDocker(info: z.infer<typeof DockerInfo>): Omit<EngineInfo, 'remote'> {
  // The containerd image store calls its driver after the snapshotter and says so in the status
  // (moby v25, daemon/containerd/service.go).
  const snapshotter = (info.DriverStatus ?? []).some(
    ([name, value]) => name === 'driver-type' && value?.startsWith('io.containerd.snapshotter') === true,
  );
  return {
    product: 'docker',
    version: info.ServerVersion,
    store: snapshotter ? 'containerd' : 'graph-driver',
    driver: info.Driver,
    ...backingOf(info.DriverStatus ?? []),
    unheld: [
      ...(info.MemoryLimit === false ? (['memory'] as const) : []),
      ...(info.CpuCfsQuota === false ? (['processors'] as const) : []),
      ...(info.PidsLimit === false ? (['processes'] as const) : []),
    ],
    runtimes: Object.keys(info.Runtimes ?? {}),
    defaultRuntime: info.DefaultRuntime ?? '',
    operatingSystem: info.OperatingSystem,
    rootless: (info.SecurityOptions ?? []).some((option) => option.startsWith('name=rootless')),
  };
}

/** Podman says nothing when it leaves a limit out: without root there is none on control groups of the first version. */
function unheldByPodman({ cgroupVersion, cgroupControllers, security }: PodmanHost): Limit[] {
  const all = { memory: 'memory', processors: 'cpu', processes: 'pids' } as const;
  const limits = Object.keys(all) as Limit[];
  if (security?.rootless !== true) return [];
  if (cgroupVersion === 'v1') return limits;
  return limits.filter((limit) => cgroupControllers?.includes(all[limit]) === false);
}

function backingOf(status: readonly (readonly string[])[]): { backingFilesystem?: string } {
  const backing = status.find(([name]) => name === 'Backing Filesystem')?.[1];
  return backing === undefined ? {} : { backingFilesystem: backing };
}

function fromPodman(info: z.infer<typeof PodmanInfo>): { info: EngineInfo; socket: string | undefined } {
  const { host } = info;
  const remote = host.serviceIsRemote === true;
  const path = host.remoteSocket?.path?.replace(/^unix:\/\//, '');
  const { distribution = '', version = '' } = host.distribution ?? {};
  return {
    info: {
      product: 'podman',
      version: info.version.Version,
      store: 'podman',
      driver: info.store.graphDriverName,
      unheld: unheldByPodman(host),
      runtimes: [],
      defaultRuntime: host.ociRuntime?.name ?? '',
      operatingSystem: `${distribution} ${version}`.trim(),
      rootless: host.security?.rootless === true,
      remote,
    },
    socket: !remote && host.remoteSocket?.exists === true ? path : undefined,
  };
}

/** `GET /version` names the components behind a Docker API; podman's compatible service is one of them. */
const Version = z.object({ Components: z.array(z.object({ Name: z.string() })).nullish() });

/** Whether it is podman that answers on a Docker API socket. */
export function isPodmanService(version: unknown): boolean {
  const components = Version.safeParse(version).data?.Components ?? [];
  return components.some(({ Name }) => Name === 'Podman Engine');
}

const Context = z.object({ Endpoints: z.object({ docker: z.object({ Host: z.string() }) }) });

/** The endpoint in what `docker context inspect --format '{{json .}}'` printed: `unix:///var/run/docker.sock`. */
export function parseEndpoint(text: string): string | undefined {
  return Context.safeParse(jsonOf(text)).data?.Endpoints.docker.Host;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
