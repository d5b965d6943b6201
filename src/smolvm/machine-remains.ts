import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { MachineHome } from './machine-home.ts';
import { stopMachinesBelow } from './vm-processes.ts';

/**
 * Removes the directory of a machine that smolvm does not list: `machine create` makes it before it notes the machine, and
 * one that is killed in between leaves it, with everything that was unpacked into it, to nobody. Its name is made of the
 * machine's (v0.8.0 to v1.9.3, src/agent/mod.rs `vm_data_dir`: the first 8 bytes of its SHA-256 in hex). Only in a home
 * of our own; where machines are with the user's own, nothing is removed behind smolvm's back.
 */
export async function removeRemains({ path }: MachineHome, name: string): Promise<void> {
  if (path === undefined) return;
  const id = createHash('sha256').update(name).digest('hex').slice(0, 16);
  const directory = join(path, '.cache', 'smolvm', 'vms', id);
  await stopMachinesBelow(directory);
  await rm(directory, { recursive: true, force: true, maxRetries: 3 });
}
