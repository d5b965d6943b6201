import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { PrepareTools } from '../../../src/backends/backend.ts';
import { smolmachinesBackend } from '../../../src/backends/smolmachines/backend.ts';
import { inspectImage } from '../../../src/engine/image.ts';
import { imageDefaults } from '../../../src/engine/image-defaults.ts';
import { findSmolvm } from '../../../src/smolvm/find.ts';
import { type MachineHome, machineHome } from '../../../src/smolvm/machine-home.ts';
import { Machines } from '../../../src/smolvm/machines.ts';
import { build } from '../../guest/guest.ts';
import { bench } from '../../integration/engines.ts';
import { double } from '../../smolvm/double.ts';
import { buildFrom, type Image, makers, type Stage, version } from '../stage.ts';

/** The double of smolvm in a home of its own, with an engine for its images. Disposing removes all of it. */
export interface MachineStage extends Stage {
  /** For what smolvm itself says. */
  readonly machines: Machines;
  /** Where it keeps its machines, and what it is told of that. */
  readonly home: MachineHome & { readonly path: string };
}

/** @param program in the place of the double. */
export async function openStage(program = double): Promise<MachineStage> {
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
  const open = () => smolmachinesBackend({ smolvm, home, version, places });
  const backend = open();
  const prepare = async (reference: string): Promise<Image> => {
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
  return {
    engine: place.engine,
    backend,
    machines: Machines.open(smolvm, home),
    home: { ...home, path },
    another: open,
    async image(dockerfile, files) {
      return await prepare(await buildFrom(place, await place.base(), dockerfile, files));
    },
    ...makers(backend, base, (slug) => join(root, slug)),
    async [Symbol.asyncDispose]() {
      await place[Symbol.asyncDispose]();
      await rm(root, { recursive: true, force: true });
    },
  };
}
