import type { Engine } from '../../engine/engine.ts';
import { GateUnreachable, LimitsUnheld } from '../errors.ts';

/** Where an engine is, as far as it matters to a mounted socket. */
export interface Place {
  readonly command: string;
  readonly platform: NodeJS.Platform;
  readonly operatingSystem: string;
  readonly remote: boolean;
  readonly endpoint: string | undefined;
}

/**
 * @throws GateUnreachable when the containers of this engine do not run on this host's own kernel, LimitsUnheld when it
 *   would leave out limits.
 */
export async function checkPlace(engine: Engine, platform: NodeJS.Platform): Promise<void> {
  const { operatingSystem, remote, rootless, unheld } = await engine.info();
  const failure = placeProblem({
    command: engine.command,
    platform,
    operatingSystem,
    remote,
    endpoint: engine.endpoint,
  });
  if (failure !== undefined) throw failure;
  if (unheld.length > 0) throw new LimitsUnheld({ command: engine.command, limits: unheld, rootless });
}

/** What is wrong with a place; `undefined` when a socket of this host can be mounted there. */
export function placeProblem(place: Place): GateUnreachable | undefined {
  const { command, endpoint, operatingSystem } = place;
  const bad = (kind: 'virtual-machine' | 'remote', sign: string) =>
    new GateUnreachable({ command, place: kind, sign });
  if (/docker desktop/i.test(operatingSystem)) return bad('virtual-machine', 'Docker Desktop');
  // A podman that talks to a service says it is remote, though that is a machine's on this host as a rule.
  if (place.remote && endpoint === undefined)
    return bad('virtual-machine', 'podman machine or a remote service');
  if (place.remote) return bad('remote', endpoint ?? '');
  const machine = endpoint?.match(/\.(colima|lima|orbstack|rd|docker\/desktop)\b/)?.[1];
  if (machine !== undefined) return bad('virtual-machine', machine);
  if (place.platform !== 'linux')
    return bad('virtual-machine', place.platform === 'darwin' ? 'macOS' : place.platform);
  return undefined;
}
