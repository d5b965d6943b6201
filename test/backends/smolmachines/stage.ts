import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Backend, Bottle, BottleSpec, PrepareTools } from '../../../src/backends/backend.ts';
import { smolmachinesBackend } from '../../../src/backends/smolmachines/backend.ts';
import { VariablesSocket } from '../../../src/bottles/variables-socket.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { inspectImage } from '../../../src/engine/image.ts';
import { imageDefaults } from '../../../src/engine/image-defaults.ts';
import { currentOwner } from '../../../src/process/owner.ts';
import { run } from '../../../src/process/run.ts';
import { findSmolvm } from '../../../src/smolvm/find.ts';
import { type MachineHome, machineHome } from '../../../src/smolvm/machine-home.ts';
import { Machines } from '../../../src/smolvm/machines.ts';
import { bottleInit, build } from '../../guest/guest.ts';
import { bench } from '../../integration/engines.ts';
import { double } from '../../smolvm/double.ts';
import { type Control, listenForControl } from '../docker/control.ts';

export const mebi = 1024 * 1024;

export interface Made extends AsyncDisposable {
  readonly bottle: Bottle;
  readonly spec: BottleSpec;
  readonly control: Control;
}

/** The double of smolvm in a home of its own, with an engine for its images. Disposing removes all of it. */
export interface Stage extends AsyncDisposable {
  readonly engine: Engine;
  readonly backend: Backend;
  /** For what smolvm itself says. */
  readonly machines: Machines;
  /** Where it keeps its machines, and what it is told of that. */
  readonly home: MachineHome & { readonly path: string };
  /** As another process has it, which holds no session. */
  another(): Backend;
  /** Builds an image from Debian's with these lines after it, and makes machines' artifact of it. */
  image(dockerfile: string): Promise<Pick<BottleSpec, 'image' | 'imageDefaults'>>;
  make(change?: Partial<BottleSpec>): Promise<Made>;
  run(change?: Partial<BottleSpec>): Promise<Made>;
}

/** @param program in the place of the double. */
export async function openStage(program = double): Promise<Stage> {
  await build();
  const place = await bench('docker');
  // Short, for the sockets below it; passable, for the machines of root.
  const root = await mkdtemp('/var/tmp/cbt-');
  await chmod(root, 0o711);
  const env = { ...process.env, CLAUDE_BOTTLE_SMOLVM: program, CLAUDE_BOTTLE_SMOLVM_HOME: join(root, 'h') };
  const smolvm = await findSmolvm(env, { needs: 'bottles' });
  const home = await machineHome(env, homedir(), process.geteuid?.() ?? 0);
  assert.ok(home.path !== undefined);
  const path = home.path;
  const places = (slug: string) => ({ machine: join(root, slug, 'machine'), run: join(root, slug) });
  const open = () => smolmachinesBackend({ smolvm, home, version: '1.2.3-test', places });
  const backend = open();
  const prepare = async (reference: string) => {
    await using held = new AsyncDisposableStack();
    const inspected = await inspectImage(place.engine, reference);
    const tools: PrepareTools = {
      engine: place.engine,
      cacheRoot: join(root, 'cache'),
      registry: 'embedded',
      observer: {
        step: (_name, work) => work(() => undefined),
        note: () => undefined,
      },
      held,
      signal: new AbortController().signal,
    };
    return {
      image: await backend.prepare(inspected, tools),
      imageDefaults: await imageDefaults(place.engine, inspected.id),
    };
  };
  const base = await prepare(await place.base());
  const make = async (change: Partial<BottleSpec> = {}): Promise<Made> => {
    const slug = change.slug ?? `test-${randomBytes(4).toString('hex')}`;
    const runDirectory = join(root, slug, 'in');
    await mkdir(runDirectory, { recursive: true });
    const control = await listenForControl(join(runDirectory, 'control.sock'));
    const variables = await VariablesSocket.listen(join(runDirectory, 'variables.sock'), {
      GIVEN: 'canary-7d1',
    });
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
    const clean = async () => {
      await backend.bottle(slug).remove();
      await control[Symbol.asyncDispose]();
      await variables[Symbol.asyncDispose]();
      await rm(join(root, slug), { recursive: true, force: true });
    };
    try {
      return { bottle: await backend.create(spec), spec, control, [Symbol.asyncDispose]: clean };
    } catch (error) {
      await clean();
      throw error;
    }
  };
  return {
    engine: place.engine,
    backend,
    machines: Machines.open(smolvm, home),
    home: { ...home, path },
    another: open,
    async image(dockerfile) {
      const context = await place.context({});
      await writeFile(join(context, 'Dockerfile'), `FROM ${await place.base()}\n${dockerfile}`);
      const tag = place.tag(randomBytes(4).toString('hex'));
      const { code, stderr } = await run('docker', ['build', '--quiet', '--tag', tag, context], {
        env: { DOCKER_BUILDKIT: '0' },
      });
      assert.equal(code, 0, stderr);
      return await prepare(tag);
    },
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
    async [Symbol.asyncDispose]() {
      await place[Symbol.asyncDispose]();
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** What `sh -c` prints in a bottle, as its own user. */
export async function said(bottle: Bottle, script: string, as: 'image' | 'root' = 'image'): Promise<string> {
  const { code, stdout, stderr } = await bottle.exec(['sh', '-c', script], { as });
  assert.equal(code, 0, stderr);
  return stdout.trim();
}
