import { join } from 'node:path';
import type { ContainerPlan } from '../../engine/container-create.ts';
import { type BottleSpec, inside } from '../backend.ts';
import { capabilities, type Identity, initArguments } from '../init-arguments.ts';
import { labelsOf } from '../labels.ts';

const mebi = 1024 * 1024;

/**
 * Open files of one process. Engines hand on what they were started with, which is a billion here and 1024 there; an
 * engine without SYS_RESOURCE cannot raise it, and some have no more than 20000 themselves.
 */
const openFiles = 16_384;

/** The name of a bottle's container. */
export function containerName(slug: string): string {
  return `claude-bottle-${slug}`;
}

export interface PlanOptions {
  readonly version: string;
  readonly runtime?: string;
  /** Whether the engine need do nothing at all for the network; /etc/hosts is then ours, see `hostsFile`. */
  readonly withoutNetworking: boolean;
  /** Whether the storage driver is asked to hold the limit. */
  readonly limitsDisk: boolean;
  /** Processes that a user may have in all, where the engine would otherwise set a number of its own. */
  readonly processes?: number;
}

/** In the run directory, for containers whose engine makes no /etc/hosts. */
export const hostsFile = 'hosts';

/** What is in it. Docker's own for a network `none` lacks the container's name. */
export function hostsText(slug: string): string {
  return `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t${hostnameOf(slug)}\n`;
}

/** As long as the kernel lets it be (sethostname(2)). */
function hostnameOf(slug: string): string {
  return slug.slice(0, 63);
}

/** Everything that a bottle's container is, from a spec. Pure. */
export function planContainer(spec: BottleSpec, identity: Identity, options: PlanOptions): ContainerPlan {
  const { slug, owner, resources } = spec;
  return {
    name: containerName(slug),
    image: spec.image,
    hostname: hostnameOf(slug),
    // bottle-init becomes the bottle's user, and until then needs to be root.
    user: '0:0',
    entrypoint: inside.init,
    arguments: initArguments(spec, identity),
    // The engine would make a missing one; bottle-init goes to the bottle's own as the user.
    workdir: '/',
    env: spec.env,
    labels: labelsOf({ slug, owner, version: options.version }, identity),
    terminal: spec.terminal,
    stdin: spec.stdin,
    capabilities: [...capabilities.root, ...capabilities.init].map((name) => name.toUpperCase()),
    ...(options.runtime === undefined ? {} : { runtime: options.runtime }),
    memoryBytes: resources.memoryBytes,
    cpus: resources.cpus,
    pids: resources.pids,
    // Browsers want some; it counts as memory of the bottle.
    shmBytes: Math.min(256 * mebi, Math.floor(resources.memoryBytes / 2)),
    ulimits: {
      nofile: openFiles,
      core: 0,
      fsize: resources.diskBytes,
      ...(options.processes === undefined ? {} : { nproc: options.processes }),
    },
    mounts: [
      { source: spec.initProgram, target: inside.init, readOnly: true },
      { source: spec.runDirectory, target: inside.run, readOnly: true },
      ...(options.withoutNetworking
        ? [{ source: join(spec.runDirectory, hostsFile), target: '/etc/hosts', readOnly: true }]
        : []),
      ...spec.mounts,
    ],
    // What is mounted in it keeps options of its own, so bottle-init can be executed and nothing else.
    tmpfs: { '/run': `rw,nosuid,nodev,noexec,mode=755,size=${16 * mebi}` },
    withoutNetworking: options.withoutNetworking,
    ...(options.limitsDisk ? { diskBytes: resources.diskBytes } : {}),
    log: { bytes: 16 * mebi, files: 4 },
  };
}
