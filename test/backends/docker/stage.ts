import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dockerBackend } from '../../../src/backends/docker/backend.ts';
import { Engine } from '../../../src/engine/engine.ts';
import { build } from '../../guest/guest.ts';
import { bench } from '../../integration/engines.ts';
import { buildFrom, makers, type Stage, version } from '../stage.ts';

/** Docker over its socket, Docker through its command, and Podman, whose service does not run, through its own. */
export const ways = ['docker', 'docker CLI', 'podman'] as const;
export type Way = (typeof ways)[number];

/** An engine with an image in it. */
export async function openStage(way: Way): Promise<Stage> {
  await build();
  const command = way === 'podman' ? 'podman' : 'docker';
  const place = await bench(command);
  const engine = await Engine.connect({ command, direct: way === 'docker' });
  assert.equal(engine.socket !== undefined, way === 'docker');
  const root = await mkdtemp(join(tmpdir(), 'claude-bottle-test-'));
  await chmod(root, 0o711);
  const open = () => dockerBackend(engine, { version });
  const backend = open();
  const base = await place.base();
  return {
    engine,
    backend,
    another: open,
    async image(dockerfile, files) {
      return { image: await buildFrom(place, base, dockerfile, files) };
    },
    // crun does not run on every kind of control groups that runc does.
    ...makers(backend, { image: base, ...(way === 'podman' ? { runtime: 'runc' } : {}) }, (slug) =>
      join(root, slug),
    ),
    async [Symbol.asyncDispose]() {
      await place[Symbol.asyncDispose]();
      await rm(root, { recursive: true, force: true });
    },
  };
}
