import { posix } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { directoriesTar } from '../../tar/directories.ts';
import { type RunResult, run, stream } from '../../process/run.ts';
import type { Machines } from '../../smolvm/machines.ts';
import type { Streaming } from '../backend.ts';
import { BottlePathMissing, FilesRefused } from '../errors.ts';
import { execArguments } from '../init-arguments.ts';
import { initPath, machineName } from './names.ts';

/** A bottle's machine, for its files. It runs. */
export interface FilesOf {
  readonly machines: Machines;
  readonly slug: string;
  /** Throws what it means that smolvm could not run a program there; returns when it was the program that ended so. */
  readonly judge: (result: RunResult) => Promise<RunResult>;
}

/** Nothing of a bottle's user is needed by root. */
const root = { user: '0:0', keepsHome: false } as const;

/**
 * Unpacks a tar below a directory, with the owners and modes that it names. A directory that is missing is made, as root's
 * and 0755.
 * @throws FilesRefused for what bottle-init does not unpack, or the source's own error.
 */
export async function putFiles(
  of: FilesOf,
  tar: Readable,
  directory: string,
  signal?: AbortSignal,
): Promise<void> {
  try {
    const missing = await missingBelow(of, directory, signal);
    if (missing !== undefined) await unpack(of, directoriesTar(missing.names), missing.parent, signal);
    await unpack(of, tar, directory, signal);
  } finally {
    tar.destroy();
  }
}

async function unpack(
  of: FilesOf,
  tar: Readable,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const result = await execute(of, ['unpack', directory], { source: tar, ...withSignal(signal) });
  if (tar.errored !== null) throw tar.errored;
  if (result.code !== 0) {
    throw new FilesRefused({ slug: of.slug, path: directory, words: wordsOf(result) });
  }
}

/** The part of a path that is not there yet, and the directory that is. */
async function missingBelow(
  of: FilesOf,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly parent: string; readonly names: readonly string[] } | undefined> {
  const names: string[] = [];
  let parent = posix.normalize(directory).replace(/(.)\/+$/, '$1');
  while (parent !== '/' && !(await isDirectory(of, parent, signal))) {
    names.unshift(posix.basename(parent));
    parent = posix.dirname(parent);
  }
  return names.length === 0 ? undefined : { parent, names };
}

/** Whether root can start a program there, which needs nothing of the image's. */
async function isDirectory(of: FilesOf, path: string, signal: AbortSignal | undefined): Promise<boolean> {
  const argv = execArguments([initPath, '--version'], root, { workdir: path });
  return (await execute(of, argv, withSignal(signal))).code === 0;
}

/**
 * The tar of what is at a path, under its own name; of a symbolic link, the link.
 * @throws BottlePathMissing, FilesRefused
 */
export async function getFiles(of: FilesOf, path: string, signal?: AbortSignal): Promise<Streaming> {
  // Without its standard input smolvm ends a program after 11 MiB (v1.9.3, src/agent/client.rs).
  const { command, args, env } = commandOf(of, ['archive', path], true);
  const child = stream(command, args, { env, cwd: '/', ...withSignal(signal) });
  const stdout = new PassThrough();
  stdout.on('error', () => undefined);
  child.stdout.on('error', (error) => stdout.destroy(error));
  stdout.once('close', () => child.stdout.destroy());
  const whole = child.done.then(of.judge).then((result) => {
    if (result.code === 0) return result;
    if (/^bottle-init: no such path/m.test(result.stderr)) {
      throw new BottlePathMissing({ slug: of.slug, path });
    }
    throw new FilesRefused({ slug: of.slug, path, words: wordsOf(result) });
  });
  // What broke off is not to pass for whole: the stream ends when it is known to be.
  const done = whole.then(
    (result) => {
      stdout.end();
      return result;
    },
    (error: unknown) => {
      stdout.destroy(error instanceof Error ? error : new Error(String(error)));
      throw error;
    },
  );
  done.catch(() => undefined);
  child.stdout.pipe(stdout, { end: false });
  const began = new Promise((resolve) => stdout.once('readable', resolve));
  await Promise.race([began, done]);
  return {
    stdout,
    done,
    async [Symbol.asyncDispose]() {
      stdout.destroy();
      await child[Symbol.asyncDispose]();
    },
  };
}

async function execute(
  of: FilesOf,
  args: readonly string[],
  options: { readonly source?: Readable; readonly signal?: AbortSignal },
): Promise<RunResult> {
  const { command, args: all, env } = commandOf(of, args, options.source !== undefined);
  return await of.judge(await run(command, all, { env, cwd: '/', ...options }));
}

function commandOf({ machines, slug }: FilesOf, args: readonly string[], stdin: boolean) {
  return machines.execCommand(machineName(slug), [initPath, ...args], { stdin });
}

function wordsOf({ code, stderr }: RunResult): string {
  const words = /^bottle-init: (.*)$/m.exec(stderr)?.[1];
  return words ?? (stderr.trim().slice(-300) || `exit status ${code}`);
}

function withSignal(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
