import { compareVersions, parseVersion, type Version } from './version.ts';

/**
 * What we ask of smolvm, and the first release that has it. Each row was read at the named tag.
 *
 * - `pack`: the oldest release whose `pack create` this code was written against (v0.8.0, src/cli/pack.rs).
 * - `digestReferences`: `crane blob REPO@DIGEST` no longer gets a second `@` (v1.1.0, crates/smolvm-agent/src/storage.rs).
 * - `namesByFlag`: `machine create`, `delete` and `data-dir` take `--name NAME` instead of a bare NAME (v1.0.2,
 *   src/cli/machine.rs); `start`, `stop`, `status` and `exec` always did.
 * - `stagingDirectory`: `SMOLVM_PACK_STAGING` moves the staging off TMPDIR (v1.2.0, src/cli/pack.rs `staging_root`).
 * - `dropsPrivileges`: root's VMs run as another user, who must be able to walk to the cache directory; and
 *   `SMOLVM_DATA_DIR` overrides HOME and XDG_* (v1.2.5, src/process.rs).
 * - `plainLayers`: uncompressed and zstd layers are recognised by their first bytes (v1.5.0, crates/smolvm-agent).
 * - `exportLimitVariable`: `SMOLVM_FILE_TRANSFER_MAX_BYTES` raises the export limit (v1.6.0, src/cli/pack.rs).
 * - `bottles`: what a machine without a network card, but with our sockets in it, needs: `--mount-socket` honoured with
 *   `--from` (v1.7.0) and visible in the machine's containers (v1.8.0, src/cli/machine.rs), `--label` (v1.8.0), and a
 *   pack's file owners kept where the host's user is not root (v1.8.1, crates/smolvm-pack/src/extract.rs).
 * - `bigExports`: a limit of 64 GiB of its own for exports (v1.8.3, src/cli/pack.rs `export_layer_to_file`).
 * - `prunesUnpacked`: `pack prune` removes the unpacked artifacts that no machine uses (v1.9.0, src/cli/pack.rs
 *   `PackPruneCmd`, src/artifact_cache.rs). The same release is the first whose `machine create` leaves any: before, each
 *   machine had its own and took it along (src/cli/machine.rs `run_from_smolmachine`).
 */
const since = {
  pack: '0.8.0',
  digestReferences: '1.1.0',
  namesByFlag: '1.0.2',
  stagingDirectory: '1.2.0',
  dropsPrivileges: '1.2.5',
  plainLayers: '1.5.0',
  exportLimitVariable: '1.6.0',
  bottles: '1.8.1',
  bigExports: '1.8.3',
  prunesUnpacked: '1.9.0',
} as const satisfies Record<string, string>;

export type Capability = keyof typeof since;

const reasons: Record<Capability, string> = {
  pack: 'converting an image into a .smolmachine',
  digestReferences: 'packing an image by digest',
  namesByFlag: 'naming a machine by an option',
  stagingDirectory: 'keeping temporary files off TMPDIR',
  dropsPrivileges: 'running the machine as a user of its own',
  plainLayers: 'packing uncompressed layers',
  exportLimitVariable: 'raising the limit on a layer',
  bottles: 'running a bottle in a microVM',
  bigExports: 'packing a layer above 4 GiB',
  prunesUnpacked: 'removing unpacked artifacts that no machine uses',
};

/** Whether that release of smolvm has the capability. */
export function versionCan(version: Version, capability: Capability): boolean {
  return compareVersions(version, parseVersion(since[capability])) >= 0;
}

/** The first release that has the capability, and what it is for, in words. */
export function requirementOf(capability: Capability): { needed: string; why: string } {
  return { needed: since[capability], why: reasons[capability] };
}

const gib = 1024 ** 3;

/** The environment variable's largest sensible value, in bytes: what later releases allow by default. */
export const raisedExportLimit = 64 * gib;

/**
 * The largest unpacked single layer, in bytes, that this release exports from its VM when we drive it: without limit
 * before v1.3.3, 4 GiB until the limit could be raised (v1.6.0, which we do), 64 GiB since. (v1.3.3 and v1.8.3,
 * src/cli/pack.rs `export_layer_to_file`.)
 */
export function largestLayer(version: Version): number {
  if (versionCan(version, 'exportLimitVariable')) return raisedExportLimit;
  return compareVersions(version, parseVersion('1.3.3')) < 0 ? Number.POSITIVE_INFINITY : 4 * gib;
}
