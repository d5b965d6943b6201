import { open, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Engine, signalOf } from './engine.ts';
import { type Transfer, transfer } from './transfer.ts';

/** On every container of ours, so that a person can find them: `docker ps -a --filter label=claude-bottle.owner`. */
export const ownerLabel = 'claude-bottle.owner';

export interface CreateOptions {
  readonly image: string;
  readonly name: string;
  readonly signal?: AbortSignal;
}

/**
 * Creates a container that is never started, to read its file system. It has no network, and a command that does not
 * exist: an image without one of its own could not be created otherwise.
 */
export async function createContainer(engine: Engine, options: CreateOptions): Promise<void> {
  await engine.succeed(
    'create',
    [
      'create',
      `--name=${options.name}`,
      `--label=${ownerLabel}=${process.pid}`,
      '--network=none',
      '--entrypoint=/claude-bottle-never-started',
      options.image,
    ],
    { subject: options.image, ...signalOf(options.signal) },
  );
}

/**
 * Removes a container and its anonymous volumes by force; one that is gone, or going, is no error.
 * @param options.signal what may have interrupted its creation. The engine may then finish that only now, so one look
 *   is not enough.
 */
export async function removeContainer(
  engine: Engine,
  name: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  for (let tries = options.signal?.aborted === true ? 10 : 1; tries > 0; tries--) {
    // The signal does not reach the removal itself, which is what happens after one.
    const result = await engine.run(['rm', '--force', '--volumes', name], { deadlineMs: removeMs });
    // Docker from 23 on says so with exit status 0, as podman does.
    if (!isGone(result.stderr)) {
      if (result.code === 0 || /removal of container .* is already in progress/i.test(result.stderr)) return;
      throw engine.failure('rm', result, name);
    }
    if (tries > 1) await sleep(100);
  }
}

/** Whether these are an engine's words for a container that is not there. */
export function isGone(words: string): boolean {
  return /no such container|no container with (name or )?id|container "[^"]*" does not exist/i.test(words);
}

const removeMs = 60_000;

export interface ExportOptions {
  /** A path for a file of the whole tar, in case the engine can only write to one. Gone with the transfer. */
  readonly spool: string;
  readonly signal?: AbortSignal;
}

/**
 * The file system of a container as one tar.
 * @throws EngineCommandFailed, when called or by `finish`.
 */
export async function exportContainer(
  engine: Engine,
  name: string,
  { spool, signal }: ExportOptions,
): Promise<Transfer> {
  const what = {
    request: 'export',
    subject: name,
    path: `/containers/${name}/export`,
    args: ['export', name],
  };
  // Podman opens its standard output anew by name (cmd/podman/containers/export.go), which the socket that Node gives
  // a child in place of a pipe does not allow.
  if (engine.dialect === 'podman' && engine.socket === undefined) {
    try {
      await engine.succeed('export', ['export', `--output=${spool}`, name], {
        subject: name,
        ...signalOf(signal),
      });
      return await fromFile(spool);
    } catch (error) {
      await rm(spool, { force: true });
      throw error;
    }
  }
  return transfer(engine, what, signalOf(signal));
}

async function fromFile(path: string): Promise<Transfer> {
  const file = await open(path, 'r');
  const bytes = file.createReadStream({ highWaterMark: 1024 * 1024 });
  return {
    bytes,
    finish: () => Promise.resolve(),
    async [Symbol.asyncDispose]() {
      bytes.destroy();
      await file.close();
      await rm(path, { force: true });
    },
  };
}
