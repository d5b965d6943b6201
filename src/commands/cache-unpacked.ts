import { SmolvmMissing, SmolvmTooOld } from '../smolvm/errors.ts';
import { findSmolvm } from '../smolvm/find.ts';
import { machineHome, placeOfMachines } from '../smolvm/machine-home.ts';
import { Machines } from '../smolvm/machines.ts';
import type { Pruned } from '../smolvm/output.ts';
import { type UnpackedArtifacts, unpackedArtifacts } from '../smolvm/unpacked.ts';
import { formatBytes } from '../terminal/units.ts';
import { explain } from './failures.ts';
import { homeOf } from './world-bottles.ts';
import type { World } from './world.ts';

/** What became of the artifacts that smolvm unpacked for our machines, as `--json` has it. */
export type UnpackedReport =
  | { readonly state: 'none' }
  /** Figures as smolvm tells and rounds them. */
  | ({ readonly state: 'pruned' } & Partial<Pruned>)
  /** No smolvm is here that could tell which of them a machine uses. */
  | ({ readonly state: 'kept'; readonly reason: string } & UnpackedArtifacts)
  | { readonly state: 'failed'; readonly reason: string };

/**
 * Has smolvm remove what it unpacked in our own home of machines and no machine uses. Where there is nothing, no program is
 * run; nothing is ever made. Whatever goes wrong, an interruption too, is in the report: what was pruned before is to be told.
 */
export async function pruneUnpacked(world: World, { dryRun }: { dryRun: boolean }): Promise<UnpackedReport> {
  const { environment, signal } = world;
  const home = homeOf(environment);
  const uid = process.geteuid?.() ?? 0;
  try {
    const there = await unpackedArtifacts(placeOfMachines(environment, home, uid));
    if (there === undefined) return { state: 'none' };
    const smolvm = await findSmolvm(environment, { needs: 'prunesUnpacked', signal }).catch(reasonToKeep);
    if (typeof smolvm === 'string') return { state: 'kept', reason: smolvm, ...there };
    // Refuses a home that others could have put there.
    const machines = Machines.open(smolvm, await machineHome(environment, home, uid));
    signal.throwIfAborted();
    return { state: 'pruned', ...(await machines.pruneUnpacked({ dryRun, signal })) };
  } catch (error) {
    const { what, why } = explain(error);
    return { state: 'failed', reason: [what, why].filter(Boolean).join(': ').replaceAll('\n', ' ') };
  }
}

function reasonToKeep(error: unknown): string {
  if (error instanceof SmolvmMissing) return 'there is no smolvm to remove them with';
  if (!(error instanceof SmolvmTooOld)) throw error;
  const { found, needed } = error.fields;
  return `smolvm ${found} cannot tell which of them a machine uses; update it to ${needed} or newer`;
}

/** The one line that tells of it; `undefined`: there is nothing to tell. */
export function unpackedLine(report: UnpackedReport, { dryRun }: { dryRun: boolean }): string | undefined {
  switch (report.state) {
    case 'none':
      return undefined;
    case 'failed':
      return `! what smolvm unpacked for machines stays: ${report.reason}`;
    case 'kept':
      return `· kept ${artifacts(report.count)} in ${report.directory}: ${report.reason}`;
    case 'pruned': {
      const { entries, bytes } = report;
      if (entries === 0) return undefined;
      const what = entries === undefined ? 'the unpacked artifacts' : artifacts(entries);
      const size = bytes === undefined ? '' : `: ${formatBytes(bytes)}`;
      return `${dryRun ? 'would remove' : 'removed'} ${what} that no machine uses${size}`;
    }
  }
}

function artifacts(count: number): string {
  return `${count} unpacked ${count === 1 ? 'artifact' : 'artifacts'}`;
}
