import { join } from 'node:path';
import type { ArtifactManifest } from '../../smolmachine/artifact.ts';
import type { MachineSpec } from '../../smolvm/machine.ts';
import { type BottleSpec, inside } from '../backend.ts';
import { type Identity, initArguments, type SessionKind } from '../init-arguments.ts';
import { labelsOf } from '../labels.ts';
import { initDirectory, initPath, machineName } from './names.ts';

const mebi = 2 ** 20;
const gibi = 2 ** 30;
/** What smolvm takes at most (v1.9.3, src/cli/machine.rs: a byte). */
const mostCpus = 255;

/** What a bottle's user is, as far as the spec and the image tell. */
export function identityFor(spec: BottleSpec, manifest: ArtifactManifest): Identity {
  const { user = '', env = manifest.env } = spec.imageDefaults ?? {};
  return {
    // A pack forgets the image's USER (v1.9.3, crates/smolvm-pack/src/format.rs), so the spec has to bring it.
    user: spec.user || user || '0:0',
    keepsHome: 'HOME' in spec.env || env.some((entry) => entry.startsWith('HOME=')),
  };
}

export interface PlanOptions {
  readonly version: string;
  /** On the host: holds bottle-init and nothing else. */
  readonly initDirectory: string;
  readonly manifest: ArtifactManifest;
}

/** Everything that a bottle's machine is, from a spec. Pure. */
export function planMachine(spec: BottleSpec, identity: Identity, options: PlanOptions): MachineSpec {
  const { slug, owner, resources } = spec;
  const diskGiB = Math.ceil(resources.diskBytes / gibi);
  return {
    name: machineName(slug),
    artifact: spec.image,
    cpus: Math.min(mostCpus, Math.max(1, Math.ceil(resources.cpus))),
    memoryMiB: Math.ceil(resources.memoryBytes / mebi),
    // The image is unpacked there, from tars that lie there until then (v1.8.1).
    storageGiB: diskGiB + Math.ceil((2 * imageBytes(options.manifest)) / gibi),
    overlayGiB: diskGiB,
    labels: labelsOf({ slug, owner, version: options.version }, identity),
    volumes: [
      { source: options.initDirectory, target: initDirectory, readOnly: true },
      ...spec.mounts.map(({ source, target, readOnly }) => ({ source, target, readOnly })),
    ],
    sockets: [inside.gateSocket, inside.controlSocket, inside.variablesSocket].map((guest) => ({
      host: join(spec.runDirectory, guest.slice(inside.run.length + 1)),
      guest,
    })),
    env: spec.env,
    // In the place of the image's own entrypoint, which smolvm would start as root, and beside us.
    command: [initPath, 'idle'],
  };
}

function imageBytes({ assets }: ArtifactManifest): number {
  return assets.layers.reduce((sum, { size }) => sum + size, 0);
}

export function sessionKind({ terminal }: Pick<BottleSpec, 'terminal'>): SessionKind {
  return terminal ? 'terminal' : 'pipes';
}

/** What bottle-init is told as the first process of a bottle. */
export function sessionArguments(spec: BottleSpec, identity: Identity): string[] {
  return [initPath, ...initArguments(spec, identity, sessionKind(spec))];
}
