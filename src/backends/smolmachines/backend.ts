import { chmod, copyFile, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { InspectedImage } from '../../engine/image.ts';
import { readSoundArtifact } from '../../smolmachine/artifact-verify.ts';
import { MachineFailed } from '../../smolvm/errors.ts';
import type { Smolvm } from '../../smolvm/find.ts';
import type { MachineHome } from '../../smolvm/machine-home.ts';
import { Machines } from '../../smolvm/machines.ts';
import { formatVersion } from '../../smolvm/version.ts';
import type { Backend, BackendFacts, Bottle, BottleSpec, FoundBottle, PrepareTools } from '../backend.ts';
import { BottleExists, RuntimeUnknown } from '../errors.ts';
import { bottleOf } from '../labels.ts';
import { requireDirectories } from '../mounts.ts';
import { writeBottleFile } from './bottle-file.ts';
import { type BottlePlace, diskBytesBelow } from './bottle-place.ts';
import { MachineBottle } from './bottle.ts';
import { HeldSession } from './held-session.ts';
import { machineName } from './names.ts';
import { identityFor, planMachine, sessionArguments, sessionKind } from './plan.ts';
import { prepareArtifact } from './prepare.ts';
import { bootMachine, settleMachine } from './settle.ts';

/** Where a bottle's own files are, absolute. */
export type PlacesOf = (slug: string) => {
  /** For this backend alone. Goes with the bottle's record. */
  readonly machine: string;
  /** For sockets. */
  readonly run: string;
};

export interface SmolmachinesOptions {
  readonly smolvm: Smolvm;
  readonly home: MachineHome;
  /** Of claude-bottle; put on every machine. */
  readonly version: string;
  readonly places: PlacesOf;
}

/** Bottles that are machines of smolvm's. */
export function smolmachinesBackend(options: SmolmachinesOptions): Backend {
  return new MachineBackend(options);
}

class MachineBackend implements Backend {
  readonly name = 'smolmachines';
  readonly #options: SmolmachinesOptions;
  readonly #machines: Machines;
  readonly #held = new Map<string, HeldSession>();

  constructor(options: SmolmachinesOptions) {
    this.#options = options;
    this.#machines = Machines.open(options.smolvm, options.home);
  }

  check({ runtime }: { readonly runtime?: string }): Promise<BackendFacts> {
    if (runtime !== undefined) {
      return Promise.reject(new RuntimeUnknown({ runtime, command: 'smolvm', known: [] }));
    }
    const { version } = this.#options.smolvm;
    // The disks are as large as the limit, and no larger.
    return Promise.resolve({ runtime: `smolvm ${formatVersion(version)}`, diskLimit: 'enforced' });
  }

  prepare(image: Pick<InspectedImage, 'id' | 'reference'>, tools: PrepareTools): Promise<string> {
    return prepareArtifact(this.#options.smolvm, image, tools);
  }

  async create(spec: BottleSpec, signal?: AbortSignal): Promise<Bottle> {
    await requireDirectories(spec.mounts);
    // smolvm would take a damaged one, and keep what it unpacked of it for later machines.
    const { manifest } = await readSoundArtifact(spec.image, signal);
    const identity = identityFor(spec, manifest);
    const place = this.#place(spec.slug);
    await placeInit(spec.initProgram, place.initDirectory);
    const { version } = this.#options;
    const plan = planMachine(spec, identity, { version, initDirectory: place.initDirectory, manifest });
    try {
      await this.#machines.create(plan, signal);
    } catch (error) {
      if (error instanceof MachineFailed && error.fields.cause === 'exists') {
        throw new BottleExists({ slug: spec.slug }, { cause: error });
      }
      await rm(place.initDirectory, { recursive: true, force: true });
      throw error;
    }
    const bottle = this.bottle(spec.slug);
    try {
      await bootMachine(this.#machines, spec.slug, signal);
      const { slug, image } = spec;
      const asked = { slug, user: identity.user, image, ...(signal === undefined ? {} : { signal }) };
      const account = await settleMachine(this.#machines, asked);
      const file = {
        identity,
        account,
        session: {
          kind: sessionKind(spec),
          takesInput: spec.stdin,
          argv: sessionArguments(spec, identity),
        },
        diskBytes: await diskBytesBelow(await this.#machines.dataDirectory(plan.name)),
      };
      await writeBottleFile(place.directory, file);
      const held = this.#heldOf(slug);
      held.isUp = true;
      // Whoever attaches to it starts its command there.
      await held.open(file);
      signal?.throwIfAborted();
    } catch (error) {
      // What cannot be removed now is found by its record, or by its labels.
      await bottle.remove().catch(() => undefined);
      throw error;
    }
    return bottle;
  }

  bottle(slug: string): Bottle {
    return new MachineBottle(this.#machines, slug, this.#place(slug), this.#heldOf(slug));
  }

  async find(signal?: AbortSignal): Promise<readonly FoundBottle[]> {
    return (await this.#machines.list(signal)).flatMap(({ name, labels }) => {
      const found = bottleOf(labels);
      return found !== undefined && machineName(found.slug) === name ? [found] : [];
    });
  }

  #heldOf(slug: string): HeldSession {
    const known = this.#held.get(slug) ?? new HeldSession(this.#machines, slug, this.#place(slug));
    this.#held.set(slug, known);
    return known;
  }

  #place(slug: string): BottlePlace {
    const { machine, run } = this.#options.places(slug);
    const { path } = this.#options.home;
    return {
      directory: machine,
      // Root's machines run as another user, who can walk to their home and not to root's.
      initDirectory: path === undefined ? join(machine, 'init') : join(path, 'claude-bottle-init', slug),
      sessionSocket: join(run, 'session.sock'),
    };
  }
}

/** A file of its own, so that the one in the machine stays what it is when ours is replaced. */
async function placeInit(program: string, directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  await chmod(directory, 0o755);
  const path = join(directory, 'bottle-init');
  // The one there may be running, in a bottle of that name.
  const draft = `${directory}.${process.pid}`;
  await copyFile(program, draft);
  await chmod(draft, 0o755);
  await rename(draft, path);
}
