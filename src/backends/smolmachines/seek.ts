import { join } from 'node:path';
import { findSmolvm, type Smolvm } from '../../smolvm/find.ts';
import { type MachineHome, machineHome, placeOfMachines } from '../../smolvm/machine-home.ts';
import { formatVersion } from '../../smolvm/version.ts';
import { virtualisation } from '../../smolvm/virtualisation.ts';
import { machineAddress, type MachineAddress } from './address.ts';

/** What bottles that are machines need, found on this host. */
export interface MachinesHere {
  readonly smolvm: Smolvm;
  readonly home: MachineHome;
  readonly address: MachineAddress;
  /** Where the machines' disks and sockets are, or will be. */
  readonly directory: string;
  /** What machines are booted with: `/dev/kvm`. */
  readonly virtualisation: string;
  /** smolvm will run the machines as another user than this one. */
  readonly dropsUser: boolean;
}

export interface Surroundings {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The user's home directory. */
  readonly home: string;
  readonly signal?: AbortSignal;
}

/**
 * Finds out whether a bottle can be a machine here, the cheapest first: where nothing can be booted, or where there is
 * no smolvm, no program is started.
 * @throws VirtualisationMissing, SmolvmMissing, SmolvmForeign, SmolvmBroken, SmolvmTooOld, MachineHomeUnusable
 */
export async function seekMachines({ environment, home, signal }: Surroundings): Promise<MachinesHere> {
  const booted = await virtualisation(environment);
  const smolvm = await findSmolvm(environment, {
    needs: 'bottles',
    ...(signal === undefined ? {} : { signal }),
  });
  const uid = process.geteuid?.() ?? 0;
  const place = await machineHome(environment, home, uid);
  const { cache, dropsUser } = placeOfMachines(environment, home, uid);
  const directory = place.path ?? join(cache, 'smolvm');
  const found = { path: smolvm.path, version: formatVersion(smolvm.version) };
  const address = machineAddress(found, place, environment);
  return { smolvm, home: place, address, directory, virtualisation: booted, dropsUser };
}
