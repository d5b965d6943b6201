import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import * as v from 'valibot';
import { fit, number } from '../schema.ts';
import { call, callForStatus, callMs } from './call.ts';
import { isGone } from './container.ts';
import { containerMissing } from './container-state.ts';
import { type Engine, signalOf } from './engine.ts';
import { type Transfer, transfer } from './transfer.ts';
import { directoriesTar } from '../tar/directories.ts';

export interface FilesOptions {
  readonly signal?: AbortSignal;
}

/** What is at a path of a container. */
interface PathStat {
  readonly isDirectory: boolean;
  /** Where a symbolic link leads, from the container's root; absent when it is none. */
  readonly target?: string;
}

// `X-Docker-Container-Path-Stat`, base64 of JSON; the mode is Go's (moby, api/types/container/container.go, fs.FileMode).
const Stat = v.object({ mode: number, linkTarget: v.optional(v.string(), '') });
const goDirectory = 2 ** 31;

/**
 * Unpacks a tar below a directory of a container in any state, with the owners and modes that it names. A directory
 * that is missing is made, as root's and 0755.
 */
export async function putFiles(
  engine: Engine,
  name: string,
  directory: string,
  tar: Readable,
  options: FilesOptions = {},
): Promise<void> {
  try {
    const missing = await missingBelow(engine, name, directory, options);
    if (missing !== undefined)
      await put(engine, name, missing.parent, directoriesTar(missing.names), options);
    await put(engine, name, directory, tar, options);
  } finally {
    tar.destroy();
  }
}

async function put(
  engine: Engine,
  name: string,
  directory: string,
  tar: Readable,
  { signal }: FilesOptions,
): Promise<void> {
  if (engine.socket !== undefined) {
    await callForStatus(engine, engine.socket, {
      request: 'cp',
      subject: name,
      method: 'PUT',
      path: `/containers/${name}/archive?path=${encodeURIComponent(directory)}`,
      tar,
      // The answer comes when everything was unpacked.
      timeoutMs: Number.POSITIVE_INFINITY,
      ...signalOf(signal),
    });
    return;
  }
  // Podman's would give everything to the container's user.
  const owners = engine.dialect === 'podman' ? ['--archive=false'] : [];
  await engine.succeed('cp', ['cp', ...owners, '-', `${name}:${directory}`], {
    subject: name,
    source: tar,
    ...signalOf(signal),
  });
}

/** The part of a path that is not there yet, and the directory that is. */
async function missingBelow(
  engine: Engine,
  name: string,
  directory: string,
  options: FilesOptions,
): Promise<{ readonly parent: string; readonly names: readonly string[] } | undefined> {
  const names: string[] = [];
  let parent = posix.normalize(directory).replace(/(.)\/+$/, '$1');
  while (parent !== '/' && !(await exists(engine, name, parent, options))) {
    names.unshift(posix.basename(parent));
    parent = posix.dirname(parent);
  }
  return names.length === 0 ? undefined : { parent, names };
}

async function exists(engine: Engine, name: string, path: string, options: FilesOptions): Promise<boolean> {
  if (engine.socket !== undefined)
    return (await statPath(engine, engine.socket, name, path, options)) !== undefined;
  const child = engine.stream(['cp', `${name}:${path}/.`, '-'], signalOf(options.signal));
  await using _child = child;
  // One byte tells.
  const first = await child.stdout[Symbol.asyncIterator]().next();
  if (first.done !== true) return true;
  const result = await child.done;
  if (isGone(result.stderr)) throw containerMissing(engine, 'cp', name);
  return result.code === 0;
}

async function statPath(
  engine: Engine,
  socket: string,
  name: string,
  path: string,
  { signal }: FilesOptions,
): Promise<PathStat | undefined> {
  const response = await call(engine, socket, {
    request: 'cp',
    subject: name,
    method: 'HEAD',
    path: `/containers/${name}/archive?path=${encodeURIComponent(path)}`,
    accept: [404],
    timeoutMs: callMs,
    ...signalOf(signal),
  });
  response.resume();
  const header = response.headers['x-docker-container-path-stat'];
  if (response.statusCode !== 200 || typeof header !== 'string') return undefined;
  const stat = fit(Stat, JSON.parse(Buffer.from(header, 'base64').toString('utf8')));
  return {
    isDirectory: stat.mode >= goDirectory,
    ...(stat.linkTarget === '' ? {} : { target: stat.linkTarget }),
  };
}

/** The tar of what is at a path of a container in any state; of a symbolic link, the link. */
export function getFiles(
  engine: Engine,
  name: string,
  path: string,
  options: FilesOptions = {},
): Promise<Transfer> {
  return transfer(
    engine,
    {
      request: 'cp',
      subject: `${name}:${path}`,
      path: `/containers/${name}/archive?path=${encodeURIComponent(path)}`,
      args: ['cp', `${name}:${path}`, '-'],
    },
    options,
  );
}
