import type { Backend } from '../backends/backend.ts';
import { dockerBackend } from '../backends/docker/backend.ts';
import type { MachineAddress } from '../backends/smolmachines/address.ts';
import { Engine, type EngineFacts, environmentOf } from '../engine/engine.ts';
import type { BottlePlaces } from './places.ts';
import { version } from '../version.ts';
import type { EngineAddress } from '../process/scratch.ts';

/** As a record or an order says it. */
export interface BackendAddress {
  readonly backend: string;
  readonly engine: EngineAddress;
  readonly machine?: MachineAddress | undefined;
}

export interface BackendOfOptions {
  /** Where the bottles that are asked for are on this host. */
  readonly places: (slug: string) => BottlePlaces;
  /** What was found out about the engine a moment ago. */
  readonly facts?: EngineFacts;
  readonly signal?: AbortSignal;
}

/** The backend that a record or an order names, where its bottles are. @throws what `Engine.connect` does */
export async function backendOf(address: BackendAddress, options: BackendOfOptions): Promise<Backend> {
  const { facts, signal } = options;
  const { backend, machine } = address;
  if (backend === 'smolmachines' && machine !== undefined) {
    // Bottles of containers need none of it.
    const { openMachines } = await import('../backends/smolmachines/open.ts');
    return openMachines(machine, options.places);
  }
  if (backend !== 'docker') throw new Error(`no backend is called ${backend}`);
  const connection = {
    command: address.engine.command,
    env: environmentOf(address.engine),
    ...(signal === undefined ? {} : { signal }),
  };
  const engine = facts === undefined ? await Engine.connect(connection) : Engine.resume(connection, facts);
  return dockerBackend(engine, { version: version() });
}
