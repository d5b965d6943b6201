import { resumeSmolvm, type Smolvm } from '../../smolvm/find.ts';
import type { MachineHome } from '../../smolvm/machine-home.ts';
import { version } from '../../version.ts';
import type { Backend } from '../backend.ts';
import { homeOfAddress, type MachineAddress } from './address.ts';
import { type PlacesOf, smolmachinesBackend } from './backend.ts';

/**
 * The machines that a record or an order speaks of, whatever our own environment says. Its smolvm is not asked what it
 * is: one that was updated meanwhile can all that it could.
 */
export function openMachines(address: MachineAddress, places: PlacesOf): Backend {
  return machinesBackend(resumeSmolvm(address.smolvm, address.version), homeOfAddress(address), places);
}

/** Bottles that are machines of this home. */
export function machinesBackend(smolvm: Smolvm, home: MachineHome, places: PlacesOf): Backend {
  return smolmachinesBackend({ smolvm, home, places, version: version() });
}
