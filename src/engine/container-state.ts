import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { DoesNotFit, fit, held, number, options, recordOf } from '../schema.ts';
import { callForJson, callForStatus, callMs } from './call.ts';
import { isGone, removeContainer } from './container.ts';
import { type Engine, signalOf } from './engine.ts';
import { EngineAnswerUnknown } from './errors.ts';

export interface CallOptions {
  readonly signal?: AbortSignal;
}

/** `docker inspect` and podman's, as far as it is used. */
const Inspected = v.object({
  Id: v.string(),
  State: v.object({
    Status: v.string(),
    Running: v.boolean(),
    ExitCode: number,
    OOMKilled: v.boolean(),
    StartedAt: v.string(),
  }),
  Config: options({
    Labels: v.nullish(recordOf(v.string())),
    Tty: v.optional(v.boolean(), false),
    Image: v.optional(v.string(), ''),
  }),
  SizeRw: v.nullish(number),
  /** Podman's own directory of it. */
  StaticDir: v.optional(v.string()),
});
export type InspectedContainer = v.InferOutput<typeof Inspected>;

/**
 * Where the command that starts a container has to be run. conmon, which podman starts, notes a lack of memory as a file
 * `oom` in its working directory (conmon 2.1, src/cgroup.c); podman looks for it in the container's own (4.3,
 * libpod/container_internal.go `handleExitFile`), and anywhere else it stays.
 * @returns `undefined`: anywhere.
 */
export async function startDirectory(
  engine: Engine,
  name: string,
  options: CallOptions = {},
): Promise<string | undefined> {
  if (engine.dialect !== 'podman') return undefined;
  return (await inspectContainer(engine, name, options))?.StaticDir;
}

/** Starts a container that was created. One that runs already is no error. */
export async function startContainer(
  engine: Engine,
  name: string,
  { signal }: CallOptions = {},
): Promise<void> {
  if (engine.socket === undefined) {
    const cwd = await startDirectory(engine, name, { ...signalOf(signal) });
    await engine.succeed('start', ['start', name], {
      subject: name,
      deadlineMs: callMs,
      ...(cwd === undefined ? {} : { cwd }),
      ...signalOf(signal),
    });
    return;
  }
  signal?.throwIfAborted();
  await callForStatus(engine, engine.socket, {
    request: 'start',
    subject: name,
    method: 'POST',
    path: `/containers/${name}/start`,
    accept: [304],
  });
}

/** @returns `undefined` when there is no such container. */
export async function inspectContainer(
  engine: Engine,
  name: string,
  options: CallOptions & { readonly size?: boolean } = {},
): Promise<InspectedContainer | undefined> {
  const json = await inspectJson(engine, name, options);
  if (json === undefined) return undefined;
  // Podman prints a list of one, whatever the format says.
  const result = held(Inspected, Array.isArray(json) ? json[0] : json);
  if ('data' in result) return result.data;
  throw new EngineAnswerUnknown({
    command: engine.command,
    request: 'container inspect',
    reason: new DoesNotFit(result.misfits).message,
  });
}

/** What an engine's refusal would be, for a container that is not there. */
export function containerMissing(engine: Engine, request: string, name: string): Error {
  return engine.failure(request, { code: 1, stderr: `No such container: ${name}` }, name);
}

async function inspectJson(
  engine: Engine,
  name: string,
  { size = false, signal }: CallOptions & { readonly size?: boolean },
): Promise<unknown> {
  if (engine.socket !== undefined) {
    return callForJson(engine, engine.socket, {
      request: 'container inspect',
      subject: name,
      method: 'GET',
      path: `/containers/${name}/json${size ? '?size=1' : ''}`,
      accept: [404],
      ...signalOf(signal),
    });
  }
  const args = ['container', 'inspect', ...(size ? ['--size'] : []), '--format', '{{json .}}', name];
  const result = await engine.run(args, {
    captureBytes: inspectBytes,
    deadlineMs: callMs,
    ...signalOf(signal),
  });
  if (result.code !== 0) {
    if (isGone(result.stderr)) return undefined;
    throw engine.failure('container inspect', result, name);
  }
  try {
    return JSON.parse(result.stdout);
  } catch {
    throw new EngineAnswerUnknown({
      command: engine.command,
      request: 'container inspect',
      reason: 'it is no JSON',
    });
  }
}

const inspectBytes = 4 * 1024 * 1024;

/**
 * Ends a container politely, and by force after so many milliseconds, rounded up to seconds. One that does not run, or
 * is gone, is no error.
 */
export async function stopContainer(engine: Engine, name: string, graceMs: number): Promise<void> {
  const seconds = Math.ceil(graceMs / 1000);
  const limit = callMs + graceMs;
  if (engine.socket !== undefined) {
    await callForStatus(engine, engine.socket, {
      request: 'stop',
      subject: name,
      method: 'POST',
      path: `/containers/${name}/stop?t=${seconds}`,
      accept: [304, 404],
      timeoutMs: limit,
    });
    return;
  }
  const result = await engine.run(['stop', '--time', String(seconds), name], { deadlineMs: limit });
  if (result.code !== 0 && !isGone(result.stderr) && !isIdle(result.stderr)) {
    throw engine.failure('stop', result, name);
  }
}

/** Whether these are an engine's words for a container that does not run. */
export function isIdle(words: string): boolean {
  return /is not running|is paused|can only (stop|create|exec)[^\n]* running containers|container state improper/i.test(
    words,
  );
}

/**
 * Removes a container by force, with its anonymous volumes, by the quickest way there is; one that is gone, or going, is
 * no error.
 */
export async function discardContainer(engine: Engine, name: string): Promise<void> {
  if (engine.socket === undefined) return removeContainer(engine, name);
  const what = {
    request: 'rm',
    subject: name,
    method: 'DELETE' as const,
    path: `/containers/${name}?force=1&v=1`,
    // 409: somebody else removes it at this moment.
    accept: [404, 409],
  };
  // Whoever was told that it is gone may make another of that name.
  for (let tries = 0; (await callForStatus(engine, engine.socket, what)) === 409 && tries < 100; tries++) {
    await sleep(100);
  }
}

/** The labels of every container that has `label`, running or not. */
export async function labelsOfContainers(
  engine: Engine,
  label: string,
  { signal }: CallOptions = {},
): Promise<readonly Readonly<Record<string, string>>[]> {
  if (engine.socket !== undefined) {
    const filters = encodeURIComponent(JSON.stringify({ label: [label] }));
    const json = await callForJson(engine, engine.socket, {
      request: 'ps',
      subject: label,
      method: 'GET',
      path: `/containers/json?all=1&filters=${filters}`,
      ...signalOf(signal),
    });
    return fit(Listed, json).map(({ Labels }) => Labels ?? {});
  }
  const list = ['ps', '--all', '--quiet', '--no-trunc', '--filter', `label=${label}`];
  const { stdout } = await engine.succeed('ps', list, { deadlineMs: callMs, ...signalOf(signal) });
  const ids = stdout.split('\n').filter(Boolean);
  const found = await Promise.all(ids.map((id) => inspectContainer(engine, id, signalOf(signal))));
  return found.flatMap((container) => (container === undefined ? [] : [container.Config.Labels ?? {}]));
}

const Listed = v.array(options({ Labels: v.nullish(recordOf(v.string())) }));
