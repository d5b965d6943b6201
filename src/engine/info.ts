import * as v from 'valibot';
import { ifFits, options, recordOf } from '../schema.ts';

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
  /** The engine is not reached through this host's own socket or storage. One in a local VM may still say false. */
  readonly remote: boolean;
}

/** `docker info --format '{{json .}}'` (moby, api/types/system/info.go). Only what is used. */
const DockerInfo = options({
  ServerVersion: v.optional(v.string(), ''),
  Driver: v.optional(v.string(), ''),
  DriverStatus: v.nullish(v.array(v.array(v.string()))),
  OperatingSystem: v.optional(v.string(), ''),
  SecurityOptions: v.nullish(v.array(v.string())),
  MemoryLimit: v.nullish(v.boolean()),
  CpuCfsQuota: v.nullish(v.boolean()),
  PidsLimit: v.nullish(v.boolean()),
  Runtimes: v.nullish(recordOf(v.unknown())),
  DefaultRuntime: v.nullish(v.string()),
  /** How CLIs before 23 report an engine that does not answer, with exit status 0. */
  ServerErrors: v.nullish(v.array(v.string())),
});

/** `podman info --format '{{json .}}'` (podman, libpod/define/info.go). Only what is used. */
const PodmanInfo = v.object({
  host: v.object({
    remoteSocket: v.nullish(options({ path: v.optional(v.string()), exists: v.optional(v.boolean()) })),
    serviceIsRemote: v.optional(v.boolean()),
    security: v.optional(options({ rootless: v.optional(v.boolean()) })),
    cgroupVersion: v.nullish(v.string()),
    cgroupControllers: v.nullish(v.array(v.string())),
    ociRuntime: v.nullish(options({ name: v.optional(v.string(), '') })),
    distribution: v.optional(
      options({ distribution: v.optional(v.string()), version: v.optional(v.string()) }),
    ),
  }),
  store: v.object({ graphDriverName: v.string() }),
  version: v.object({ Version: v.string() }),
});

type PodmanHost = v.InferOutput<typeof PodmanInfo>['host'];

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
  const podman = ifFits(PodmanInfo, json);
  if (podman !== undefined) return { dialect: 'podman', ...fromPodman(podman) };
  const docker = ifFits(DockerInfo, json);
  if (docker === undefined) return undefined;
  return { dialect: 'docker', info: fromDocker(docker), errors: docker.ServerErrors ?? [] };
}

function fromDocker(info: v.InferOutput<typeof DockerInfo>): Omit<EngineInfo, 'remote'> {
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

function fromPodman(info: v.InferOutput<typeof PodmanInfo>): {
  info: EngineInfo;
  socket: string | undefined;
} {
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
const Version = options({ Components: v.nullish(v.array(v.object({ Name: v.string() }))) });

/** Whether it is podman that answers on a Docker API socket. */
export function isPodmanService(version: unknown): boolean {
  const components = ifFits(Version, version)?.Components ?? [];
  return components.some(({ Name }) => Name === 'Podman Engine');
}

const Context = v.object({ Endpoints: v.object({ docker: v.object({ Host: v.string() }) }) });

/** The endpoint in what `docker context inspect --format '{{json .}}'` printed: `unix:///var/run/docker.sock`. */
export function parseEndpoint(text: string): string | undefined {
  return ifFits(Context, jsonOf(text))?.Endpoints.docker.Host;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
