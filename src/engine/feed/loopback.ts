import type { EmbeddedRegistry } from '../../oci/registry/embedded-registry.ts';
import type { Scratch } from '../../process/scratch.ts';
import { apiRequest } from '../api.ts';
import { type Engine, signalOf } from '../engine.ts';
import { logIn, registryAuth } from './login.ts';

/** A daemon on this host asks back within milliseconds; one in a VM may keep trying for long. */
const probeMs = 2_000;

/**
 * Whether the engine's daemon reaches what listens on our loopback. Found out, not guessed from product names: the
 * daemon is asked about an image in our registry that nobody else knows of, and either it comes asking, or not.
 */
export async function sharesLoopback(
  engine: Engine,
  registry: EmbeddedRegistry,
  options: { readonly scratch: Scratch; readonly signal?: AbortSignal },
): Promise<boolean> {
  // Podman without a machine in between has no daemon: it connects from where we are.
  if (engine.dialect === 'podman') return !(await engine.info()).remote;
  using probe = registry.probe();
  const reference = `${registry.host}/${probe.repository}:x`;
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, options.signal]);
  const asked = ask();
  const answered = asked.catch(() => undefined).then(() => probe.seen);
  const seen = await Promise.race([probe.waitSeen(probeMs), answered]);
  stop.abort(new Error('the probe is over'));
  await asked.catch(() => undefined);
  options.signal?.throwIfAborted();
  return seen;

  async function ask(): Promise<void> {
    if (engine.socket !== undefined) {
      const path = `/distribution/${reference}/json`;
      const headers = { 'X-Registry-Auth': registryAuth(registry.host, probe.credential) };
      const response = await apiRequest(engine.socket, path, { headers, ...signalOf(signal) });
      response.on('error', () => undefined).resume();
      return;
    }
    await using login = await logIn(engine, options.scratch, registry.host, probe.credential);
    await engine.run(['pull', reference], { env: login.dockerEnvironment, ...signalOf(signal) });
  }
}
