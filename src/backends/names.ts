import type { Resources } from './backend.ts';

/** What a bottle can be made of, the strongest fence first: the order in which they are preferred. */
export const backendNames = ['smolmachines', 'docker'] as const;
export type BackendName = (typeof backendNames)[number];

/** What of a bottle's limits its kind can keep, known before there is any. */
export interface BackendTraits {
  /** What such a bottle is. */
  readonly thing: 'container' | 'machine';
  /** `--runtime` means something to it. */
  readonly takesRuntime: boolean;
  /** It holds the bottle to a number of processes. */
  readonly limitsPids: boolean;
  /** A single file of the host can be shown to it, and not directories alone. */
  readonly mountsFiles: boolean;
  /** What it makes of resources that it can have in whole units only: never less than was asked for. */
  fit(resources: Resources): Resources;
}

const mebi = 2 ** 20;
const gibi = 2 ** 30;

/** A container is held by control groups, which count in anything; smolvm takes cores, MiB and GiB (v1.9.3, src/cli/machine.rs). */
export const backendTraits: Readonly<Record<BackendName, BackendTraits>> = {
  docker: {
    thing: 'container',
    takesRuntime: true,
    limitsPids: true,
    mountsFiles: true,
    fit: (resources) => resources,
  },
  smolmachines: {
    thing: 'machine',
    takesRuntime: false,
    limitsPids: false,
    mountsFiles: false,
    fit: (resources) => ({
      ...resources,
      cpus: Math.ceil(resources.cpus),
      memoryBytes: Math.ceil(resources.memoryBytes / mebi) * mebi,
      diskBytes: Math.ceil(resources.diskBytes / gibi) * gibi,
    }),
  },
};

export function isBackendName(name: string): name is BackendName {
  return backendNames.some((known) => known === name);
}
