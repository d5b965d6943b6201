import { findSmolvm, resumeSmolvm, type Smolvm } from '../../smolvm/find.ts';
import type { MachineHome } from '../../smolvm/machine-home.ts';
import { Machines } from '../../smolvm/machines.ts';
import { version } from '../../version.ts';
import type { Backend } from '../backend.ts';
import { homeOfAddress, type MachineAddress } from './address.ts';
import { smolmachinesBackend } from './backend.ts';

interface OpenOptions {
  /** The address was written a moment ago: its smolvm is still the one that it was. */
  readonly isFresh: boolean;
  readonly signal?: AbortSignal;
}

/**
 * The machines that a record or an order speaks of, whatever our own environment says.
 * @throws what `findSmolvm` does, when its smolvm is there no more.
 */
export async function openMachines(
  address: MachineAddress,
  { isFresh, signal }: OpenOptions,
): Promise<Backend> {
  const smolvm = isFresh
    ? resumeSmolvm(address.smolvm, address.version)
    : await findSmolvm(
        { ...process.env, CLAUDE_BOTTLE_SMOLVM: address.smolvm },
        signal === undefined ? {} : { signal },
      );
  return machinesBackend(smolvm, homeOfAddress(address));
}

/** Bottles that are machines of this home. */
export function machinesBackend(smolvm: Smolvm, home: MachineHome): Backend {
  return smolmachinesBackend(Machines.open(smolvm, home), { smolvm, version: version() });
}
