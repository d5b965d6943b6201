import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Scratch } from '../process/scratch.ts';
import { ownerLabel, removeContainer } from './container.ts';
import { type Engine, signalOf } from './engine.ts';
import {
  EngineDenied,
  EngineUnreachable,
  RegistryImageUnavailable,
  RegistryNotReady,
  RegistryNotStarted,
} from './errors.ts';
import { type InspectedImage, imageExists, pushImage, underName } from './image.ts';
import { plainWords, wordsOf } from './words.ts';

/** `registry:2.8.3`, by the digest of its manifest list. */
const defaultImage = 'registry@sha256:a3d8aaa63ed8681a604f1dea0aa03f100d5895b6a58ace528858a7b332415373';
const registryPort = 5000;
const pollMs = 50;
const logLines = 10;

export interface ContainerRegistryOptions {
  readonly scratch: Scratch;
  /** By default `CLAUDE_BOTTLE_REGISTRY_IMAGE`, else `registry:2.8.3` pinned by digest. */
  readonly image?: string;
  /** Milliseconds until it must answer; 10 s by default. */
  readonly readyMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * A registry in a container of the engine's, on this host's loopback and a port that the engine chose. It is removed
 * by force on disposal, and when it does not come up; when this process is killed, the next one removes it.
 */
export class ContainerRegistry implements AsyncDisposable {
  readonly name: string;
  readonly image: string;
  /** On 127.0.0.1. */
  readonly port: number;
  readonly #engine: Engine;
  readonly #options: ContainerRegistryOptions;

  private constructor(engine: Engine, place: Place & { port: number }, options: ContainerRegistryOptions) {
    this.name = place.name;
    this.image = place.image;
    this.port = place.port;
    this.#engine = engine;
    this.#options = options;
  }

  /**
   * Starts one and waits until it answers.
   * @throws RegistryImageUnavailable, RegistryNotStarted or RegistryNotReady; nothing stays behind.
   */
  static async start(engine: Engine, options: ContainerRegistryOptions): Promise<ContainerRegistry> {
    const place: Place = {
      name: `claude-bottle-registry-${randomBytes(6).toString('hex')}`,
      image: options.image ?? (process.env.CLAUDE_BOTTLE_REGISTRY_IMAGE || defaultImage),
    };
    await options.scratch.expect({ kind: 'container', engine: engine.address, name: place.name });
    try {
      await runContainer(engine, place, options);
      const port = await portOf(engine, place, options);
      await waitReady(engine, { ...place, port }, options);
      return new ContainerRegistry(engine, { ...place, port }, options);
    } catch (error) {
      await options.scratch.undo(() => removeContainer(engine, place.name, options));
      throw error;
    }
  }

  /**
   * Tags an image `127.0.0.1:PORT/claude-bottle:TAG`, pushes it, and takes the tag away again.
   * @returns the reference to pull.
   * @throws PushFailed
   */
  async push(image: Pick<InspectedImage, 'id' | 'tags'>, tag: string): Promise<string> {
    const reference = `127.0.0.1:${this.port}/claude-bottle:${tag}`;
    const { scratch, signal } = this.#options;
    const call = { scratch, ...signalOf(signal) };
    await underName(this.#engine, image, reference, call, () => pushImage(this.#engine, reference, call));
    return reference;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#options.scratch.undo(() => removeContainer(this.#engine, this.name));
  }
}

interface Place {
  readonly name: string;
  readonly image: string;
}

async function runContainer(engine: Engine, { name, image }: Place, options: ContainerRegistryOptions) {
  const args = ['run', '-d', '--rm', '--name', name, '--label', `${ownerLabel}=${process.pid}`];
  const publish = ['-p', `127.0.0.1::${registryPort}`];
  const result = await engine.run([...args, ...publish, image], signalOf(options.signal));
  if (result.code === 0) return;
  const failed = engine.failure('run', result);
  if (failed instanceof EngineUnreachable || failed instanceof EngineDenied) throw failed;
  const words = wordsOf(result.stderr);
  if (!(await imageExists(engine, image, signalOf(options.signal)))) {
    throw new RegistryImageUnavailable({ image, ...words });
  }
  throw new RegistryNotStarted({ name, image, ...words });
}

async function portOf(engine: Engine, place: Place, options: ContainerRegistryOptions): Promise<number> {
  const result = await engine.run(['port', place.name, `${registryPort}/tcp`], signalOf(options.signal));
  const port = result.code === 0 ? parsePort(result.stdout) : undefined;
  if (port !== undefined) return port;
  const said = plainWords(result.stderr) || `its port is not published: ${JSON.stringify(result.stdout)}`;
  throw new RegistryNotStarted({ ...place, words: said });
}

/**
 * The host port in what `docker port` printed: one `ADDRESS:PORT` a line, of IPv4 (`127.0.0.1:54321`) or IPv6
 * (`[::1]:54321`, and `:::54321` before Docker 20.10.6). An IPv4 line wins: that is the loopback we asked for.
 */
export function parsePort(text: string): number | undefined {
  const lines = text.split('\n').flatMap((line) => {
    const found = /^(?:\d+\/\w+ -> )?(?<address>.+):(?<port>\d{1,5})$/.exec(line.trim())?.groups;
    const port = Number(found?.port);
    return port >= 1 && port <= 65_535 ? [{ address: found?.address ?? '', port }] : [];
  });
  const best = lines.find(({ address }) => /^\d+\.\d+\.\d+\.\d+$/.test(address)) ?? lines[0];
  return best?.port;
}

async function waitReady(
  engine: Engine,
  place: Place & { readonly port: number },
  options: ContainerRegistryOptions,
): Promise<void> {
  const { signal, readyMs = 10_000 } = options;
  const started = performance.now();
  while (!(await accepts(place.port))) {
    signal?.throwIfAborted();
    const waitedMs = Math.round(performance.now() - started);
    if (waitedMs >= readyMs) {
      throw new RegistryNotReady({ ...place, waitedMs, log: await logOf(engine, place.name) });
    }
    await sleep(pollMs);
  }
}

/** Docker's own proxy takes connections from the start and hangs up on them until the registry listens: only an answer counts. */
function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const answer = (ready: boolean) => {
      socket.destroy();
      resolve(ready);
    };
    socket.setTimeout(1_000, () => answer(false));
    socket.once('error', () => answer(false));
    socket.once('close', () => answer(false));
    socket.once('data', () => answer(true));
    socket.once('connect', () => socket.write('GET /v2/ HTTP/1.0\r\n\r\n'));
  });
}

async function logOf(engine: Engine, name: string): Promise<string[]> {
  const { stdout, stderr } = await engine.run(['logs', '--tail', String(logLines), name], {
    deadlineMs: 5_000,
  });
  return plainWords(`${stdout}\n${stderr}`)
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-logLines);
}
