import { VariablesSocket } from '../../../src/bottles/variables-socket.ts';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bottle, BottleSpec } from '../../../src/backends/backend.ts';
import { dockerBackend } from '../../../src/backends/docker/backend.ts';
import { Engine } from '../../../src/engine/engine.ts';
import { currentOwner } from '../../../src/process/owner.ts';
import { run } from '../../../src/process/run.ts';
import { bottleInit, build } from '../../guest/guest.ts';
import { bench } from '../../integration/engines.ts';
import { type Control, listenForControl } from './control.ts';

/** Docker over its socket, Docker through its command, and Podman, whose service does not run, through its own. */
export const ways = ['docker', 'docker CLI', 'podman'] as const;
export type Way = (typeof ways)[number];

export const mebi = 1024 * 1024;
export const defaults = {
  cpus: 1.5,
  memoryBytes: 512 * mebi,
  pids: 200,
  diskBytes: 2048 * mebi,
} as const;

export interface Made extends AsyncDisposable {
  readonly bottle: Bottle;
  readonly spec: BottleSpec;
  readonly control: Control;
  readonly directory: string;
}

/** An engine with an image in it; disposing removes the images that were made. */
export interface Stage extends AsyncDisposable {
  readonly engine: Engine;
  readonly backend: ReturnType<typeof dockerBackend>;
  readonly base: string;
  /** Builds an image from Debian's with these lines after it; or from `FROM` on, where they begin so. */
  image(dockerfile: string, files?: Readonly<Record<string, Buffer>>): Promise<string>;
  /** A bottle that is made and not started. */
  make(change?: Partial<BottleSpec>): Promise<Made>;
  /** The same, started. */
  run(change?: Partial<BottleSpec>): Promise<Made>;
}

export async function openStage(way: Way): Promise<Stage> {
  await build();
  const command = way === 'podman' ? 'podman' : 'docker';
  const place = await bench(command);
  const engine = await Engine.connect({ command, direct: way === 'docker' });
  assert.equal(engine.socket !== undefined, way === 'docker');
  const backend = dockerBackend(engine, { version: '1.2.3-test' });
  const base = await place.base();
  const make = async (change: Partial<BottleSpec> = {}): Promise<Made> => {
    const directory = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
    await chmod(directory, 0o711);
    const control = await listenForControl(join(directory, 'control.sock'));
    const variables = await VariablesSocket.listen(join(directory, 'variables.sock'), {
      GIVEN: 'canary-7d1',
    });
    const spec: BottleSpec = {
      slug: `test-${randomBytes(4).toString('hex')}`,
      initProgram: bottleInit,
      image: base,
      command: ['sleep', '3600'],
      workdir: '/',
      terminal: false,
      stdin: true,
      env: {},
      resources: defaults,
      // crun does not run on every kind of control groups that runc does.
      ...(way === 'podman' ? { runtime: 'runc' } : {}),
      runDirectory: directory,
      probes: [],
      mounts: [],
      owner: await currentOwner(),
      ...change,
    };
    const clean = async () => {
      await backend.bottle(spec.slug).remove();
      await control[Symbol.asyncDispose]();
      await variables[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    };
    try {
      const bottle = await backend.create(spec);
      return { bottle, spec, control, directory, [Symbol.asyncDispose]: clean };
    } catch (error) {
      await clean();
      throw error;
    }
  };
  return {
    engine,
    backend,
    base,
    make,
    async image(dockerfile, files = {}) {
      const context = await place.context({ ...files });
      for (const name of Object.keys(files)) await chmod(join(context, name), 0o755);
      const file = join(context, 'Dockerfile');
      await writeFile(file, dockerfile.startsWith('FROM') ? dockerfile : `FROM ${base}\n${dockerfile}`);
      const tag = place.tag(randomBytes(4).toString('hex'));
      const { code, stderr } = await run(command, ['build', '--quiet', '--tag', tag, context], {
        env: { BUILDAH_ISOLATION: 'chroot', DOCKER_BUILDKIT: '0' },
      });
      assert.equal(code, 0, stderr);
      return tag;
    },
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
    [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
  };
}

/** What `sh -c` prints in a bottle, as its own user. */
export async function said(bottle: Bottle, script: string, as: 'image' | 'root' = 'image'): Promise<string> {
  const { code, stdout, stderr } = await bottle.exec(['sh', '-c', script], { as });
  assert.equal(code, 0, stderr);
  return stdout.trim();
}
