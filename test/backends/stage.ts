import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import type { Backend, Bottle, BottleSpec } from '../../src/backends/backend.ts';
import { VariablesSocket } from '../../src/bottles/variables-socket.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { currentOwner } from '../../src/process/owner.ts';
import { run } from '../../src/process/run.ts';
import { bottleInit } from '../guest/guest.ts';
import type { Bench } from '../integration/engines.ts';
import { type Control, listenForControl } from './control.ts';

export const mebi = 1024 * 1024;
/** What a backend says of itself in what it makes. */
export const version = '1.2.3-test';
/** Every bottle of a stage has it, as its variable GIVEN. */
export const given = 'canary-7d1';

export type Image = Pick<BottleSpec, 'image' | 'imageDefaults'>;

export interface Made extends AsyncDisposable {
  readonly bottle: Bottle;
  readonly spec: BottleSpec;
  readonly control: Control;
}

/** A backend with an image in it; disposing removes what was made for it. */
export interface Stage extends AsyncDisposable {
  /** Where its images come from. */
  readonly engine: Engine;
  readonly backend: Backend;
  /** The backend as another process has it, which made no bottle and holds none. */
  another(): Backend;
  /** Builds an image from Debian's with these lines after it; or from `FROM` on, where they begin so. */
  image(dockerfile: string, files?: Readonly<Record<string, Buffer>>): Promise<Image>;
  /** A bottle that is made and not started. */
  make(change?: Partial<BottleSpec>): Promise<Made>;
  /** The same, started. */
  run(change?: Partial<BottleSpec>): Promise<Made>;
}

/** A suite with a stage that is open while it runs. */
export function onStage<Kind extends Stage>(
  name: string,
  { open, timeout = Infinity }: { readonly open: () => Promise<Kind>; readonly timeout?: number },
  define: (stage: () => Kind) => void,
): void {
  describe(name, { timeout }, () => {
    let stage: Kind;
    before(async () => {
      stage = await open();
    });
    define(() => stage);
    // Last, as what stands on it goes first.
    after(async () => {
      await stage[Symbol.asyncDispose]();
    });
  });
}

/** @param directory where a bottle of that slug has what it keeps on the host, and `run` below it for its sockets. */
export function makers(
  backend: Backend,
  base: Image & Pick<BottleSpec, 'runtime'>,
  directory: (slug: string) => string,
): Pick<Stage, 'make' | 'run'> {
  const make = async (change: Partial<BottleSpec> = {}): Promise<Made> => {
    await using making = new AsyncDisposableStack();
    const slug = change.slug ?? `test-${randomBytes(4).toString('hex')}`;
    const runDirectory = join(directory(slug), 'run');
    making.defer(() => rm(directory(slug), { recursive: true, force: true }));
    await mkdir(runDirectory, { recursive: true });
    const control = making.use(await listenForControl(join(runDirectory, 'control.sock')));
    making.use(await VariablesSocket.listen(join(runDirectory, 'variables.sock'), { GIVEN: given }));
    const spec: BottleSpec = {
      slug,
      initProgram: bottleInit,
      ...base,
      command: ['sleep', '3600'],
      workdir: '/',
      terminal: false,
      stdin: true,
      env: {},
      resources: { cpus: 1.5, memoryBytes: 512 * mebi, pids: 200, diskBytes: 2048 * mebi },
      runDirectory,
      probes: [],
      mounts: [],
      owner: await currentOwner(),
      ...change,
    };
    making.defer(() => backend.bottle(slug).remove());
    const bottle = await backend.create(spec);
    const made = making.move();
    return { bottle, spec, control, [Symbol.asyncDispose]: () => made.disposeAsync() };
  };
  return {
    make,
    async run(change) {
      const made = await make(change);
      try {
        await made.bottle.start();
        return made;
      } catch (error) {
        await made[Symbol.asyncDispose]();
        throw error;
      }
    },
  };
}

/** `Stage.image`, as far as the engine goes. @returns the image's name */
export async function buildFrom(
  place: Bench,
  base: string,
  dockerfile: string,
  files: Readonly<Record<string, Buffer>> = {},
): Promise<string> {
  const context = await place.context(files);
  for (const name of Object.keys(files)) await chmod(join(context, name), 0o755);
  const whole = dockerfile.startsWith('FROM') ? dockerfile : `FROM ${base}\n${dockerfile}`;
  await writeFile(join(context, 'Dockerfile'), whole);
  const tag = place.tag(randomBytes(4).toString('hex'));
  const { code, stderr } = await run(
    place.engine.command,
    ['build', '--quiet', '--tag', tag, context],
    // Podman's default runtime wants control groups that a machine within a machine may not have; a chroot does to build.
    { env: { BUILDAH_ISOLATION: 'chroot', DOCKER_BUILDKIT: '0' } },
  );
  assert.equal(code, 0, stderr);
  return tag;
}

/** What `sh -c` prints in a bottle, as its own user. */
export async function said(bottle: Bottle, script: string, as: 'image' | 'root' = 'image'): Promise<string> {
  const { code, stdout, stderr } = await bottle.exec(['sh', '-c', script], { as });
  assert.equal(code, 0, stderr);
  return stdout.trim();
}
