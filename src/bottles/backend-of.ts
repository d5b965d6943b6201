import type { Backend } from '../backends/backend.ts';
import { dockerBackend } from '../backends/docker/backend.ts';
import { Engine, type EngineFacts, environmentOf } from '../engine/engine.ts';
import { version } from '../version.ts';
import type { EngineAddress } from '../process/scratch.ts';

/** The backend that a record or an order names, on the engine where its bottles are. @throws what `Engine.connect` does */
export async function backendOf(
  name: string,
  address: EngineAddress,
  options: { readonly facts?: EngineFacts; readonly signal?: AbortSignal } = {},
): Promise<Backend> {
  if (name !== 'docker') throw new Error(`no backend is called ${name}`);
  const { facts, signal } = options;
  const connection = {
    command: address.command,
    env: environmentOf(address),
    ...(signal === undefined ? {} : { signal }),
  };
  const engine = facts === undefined ? await Engine.connect(connection) : Engine.resume(connection, facts);
  return dockerBackend(engine, { version: version() });
}
