import type { Engine } from '../../engine/engine.ts';
import { EngineCommandFailed } from '../../engine/errors.ts';
import { RuntimeUnknown } from '../errors.ts';

/** gVisor: a kernel of its own in user space, between the bottle and the host's. */
const preferred = 'runsc';

/**
 * The OCI runtime to ask for; `undefined` for the engine's default. Podman lists none, so that only `probeRuntime`, or
 * the making of a container, tells whether it has one.
 * @throws RuntimeUnknown when one was asked for that the engine does not list.
 */
export async function chooseRuntime(engine: Engine, wanted: string | undefined): Promise<string | undefined> {
  const { runtimes, product } = await engine.info();
  if (product === 'podman') return wanted;
  if (wanted === undefined) return runtimes.includes(preferred) ? preferred : undefined;
  if (runtimes.includes(wanted)) return wanted;
  throw new RuntimeUnknown({ runtime: wanted, command: engine.command, known: runtimes });
}

/** Asks podman whether it has a runtime. @throws RuntimeUnknown. */
export async function probeRuntime(engine: Engine, wanted: string | undefined): Promise<void> {
  const { defaultRuntime, product } = await engine.info();
  if (
    product !== 'podman' ||
    engine.dialect !== 'podman' ||
    wanted === undefined ||
    wanted === defaultRuntime
  )
    return;
  const result = await engine.run([`--runtime=${wanted}`, 'info', '--format', '{{.Host.OCIRuntime.Name}}'], {
    deadlineMs: 30_000,
  });
  if (result.code !== 0) throw unknown(engine, wanted, defaultRuntime);
}

/** Turns an engine's refusal to make a container with a runtime that it does not have into one that says so. */
export async function inTermsOfRuntime<T>(
  engine: Engine,
  wanted: string | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const words = error instanceof EngineCommandFailed ? (error.fields.words ?? '') : '';
    if (wanted === undefined || !/runtime "?[^"]*"? not found|unknown runtime/i.test(words)) throw error;
    throw unknown(engine, wanted, (await engine.info()).defaultRuntime);
  }
}

function unknown(engine: Engine, runtime: string, known: string): RuntimeUnknown {
  return new RuntimeUnknown({ runtime, command: engine.command, known: known === '' ? [] : [known] });
}
