import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createConfined } from '../../engine/container-create.ts';
import { discardContainer, labelsOfContainers } from '../../engine/container-state.ts';
import { type Engine, signalOf } from '../../engine/engine.ts';
import { EngineCommandFailed } from '../../engine/errors.ts';
import { imageDefaults } from '../../engine/image-defaults.ts';
import type { Backend, BackendFacts, Bottle, BottleSpec, FoundBottle } from '../backend.ts';
import { ContainerBottle } from './bottle.ts';
import { inTermsOf } from './failures.ts';
import type { Identity } from '../init-arguments.ts';
import { bottleOf, label } from '../labels.ts';
import { checkPlace } from './place.ts';
import { containerName, hostsFile, hostsText, planContainer } from './plan.ts';
import { chooseRuntime, inTermsOfRuntime, probeRuntime } from './runtime.ts';

export interface DockerBackendOptions {
  /** Of claude-bottle; put on every container. */
  readonly version: string;
  readonly platform?: NodeJS.Platform;
}

/** Bottles that are containers of this engine, be it Docker or Podman. */
export function dockerBackend(engine: Engine, options: DockerBackendOptions): Backend {
  return new ContainerBackend(engine, options);
}

class ContainerBackend implements Backend {
  readonly name = 'docker';
  readonly #engine: Engine;
  readonly #options: DockerBackendOptions;

  constructor(engine: Engine, options: DockerBackendOptions) {
    this.#engine = engine;
    this.#options = options;
  }

  async check({ runtime }: { readonly runtime?: string }): Promise<BackendFacts> {
    await checkPlace(this.#engine, this.#options.platform ?? process.platform);
    const [chosen, { defaultRuntime }, limits] = await Promise.all([
      chooseRuntime(this.#engine, runtime),
      this.#engine.info(),
      diskSupport(this.#engine),
      probeRuntime(this.#engine, runtime),
    ]);
    return {
      runtime: chosen ?? defaultRuntime,
      diskLimit: limits === 'always' ? 'enforced' : 'watched',
    };
  }

  /** Containers are made of what the engine has. */
  prepare({ id }: { readonly id: string }): Promise<string> {
    return Promise.resolve(id);
  }

  async create(spec: BottleSpec, signal?: AbortSignal): Promise<Bottle> {
    await checkPlace(this.#engine, this.#options.platform ?? process.platform);
    const withoutNetworking = await needsNoNetworking(this.#engine);
    const hosts = join(spec.runDirectory, hostsFile);
    const [identity, runtime, disk, processes] = await Promise.all([
      identityFor(this.#engine, spec, signal),
      chooseRuntime(this.#engine, spec.runtime),
      diskSupport(this.#engine),
      processLimit(this.#engine),
      withoutNetworking ? writeFile(hosts, hostsText(spec.slug), { mode: 0o644 }) : undefined,
    ]);
    const planned = (limitsDisk: boolean) =>
      planContainer(spec, identity, {
        version: this.#options.version,
        ...(runtime === undefined ? {} : { runtime }),
        ...(processes === undefined ? {} : { processes }),
        withoutNetworking,
        limitsDisk,
      });
    const make = (limitsDisk: boolean) =>
      inTermsOfRuntime(this.#engine, runtime, () =>
        createConfined(this.#engine, planned(limitsDisk), signalOf(signal)),
      );
    await inTermsOf(spec.slug, async () => {
      try {
        await make(disk !== 'never').catch((error: unknown) => {
          if (disk === 'never' || !refusesDiskLimit(error)) throw error;
          return make(false);
        });
      } catch (error) {
        // Who interrupts a creation may find it done nevertheless.
        if (signal?.aborted === true) await discardContainer(this.#engine, containerName(spec.slug));
        throw error;
      }
    });
    return new ContainerBottle(this.#engine, spec.slug, identity);
  }

  bottle(slug: string): Bottle {
    return new ContainerBottle(this.#engine, slug);
  }

  async find(signal?: AbortSignal): Promise<readonly FoundBottle[]> {
    const labels = await labelsOfContainers(this.#engine, label.slug, signalOf(signal));
    return labels.flatMap((each) => bottleOf(each) ?? []);
  }
}

/** Podman's service knows the option by name only, and its command not even so. */
async function needsNoNetworking(engine: Engine): Promise<boolean> {
  return engine.socket !== undefined && (await engine.info()).product === 'docker';
}

async function identityFor(
  engine: Engine,
  spec: BottleSpec,
  signal: AbortSignal | undefined,
): Promise<Identity> {
  const { user, env } = spec.imageDefaults ?? (await imageDefaults(engine, spec.image, signalOf(signal)));
  return {
    user: spec.user || user || '0:0',
    keepsHome: 'HOME' in spec.env || env.some((entry) => entry.startsWith('HOME=')),
  };
}

/**
 * Whether the storage can hold a container to a size: btrfs and zfs always can; overlay can on an xfs with project
 * quotas, which only the attempt tells (moby, daemon/graphdriver/overlay2: "storage-opt is supported only for overlay
 * over xfs with 'pquota' mount option").
 */
async function diskSupport(engine: Engine): Promise<'always' | 'perhaps' | 'never'> {
  const { driver, backingFilesystem, product } = await engine.info();
  if (/^(btrfs|zfs)$/.test(driver)) return 'always';
  return /^overlay/.test(driver) && (backingFilesystem === 'xfs' || product === 'podman')
    ? 'perhaps'
    : 'never';
}

function refusesDiskLimit(error: unknown): boolean {
  return (
    error instanceof EngineCommandFailed &&
    /storage[- ]opt|storage option|quota|size is only supported|xfs/i.test(error.fields.words ?? '')
  );
}

/**
 * Podman gives every container a limit of 1048576 processes for each user, which fails where its own is lower and cannot
 * be raised. Its own is ours, or as many as there are process numbers (podman, cmd/podman/early_init_linux.go). Docker sets
 * none, and the number of processes of the bottle is limited in any case.
 */
async function processLimit(engine: Engine): Promise<number | undefined> {
  if (engine.dialect !== 'podman') return undefined;
  const [limits, numbers] = await Promise.all(
    ['/proc/self/limits', '/proc/sys/kernel/pid_max'].map((path) => readFile(path, 'latin1').catch(() => '')),
  );
  const known = [limits?.match(/^Max processes +\S+ +(\d+)/m)?.[1], numbers?.trim()];
  const smallest = Math.min(...known.filter((each) => each !== undefined && each !== '').map(Number));
  return Number.isFinite(smallest) ? smallest : undefined;
}
