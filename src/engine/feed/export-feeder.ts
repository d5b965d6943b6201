import { randomBytes } from 'node:crypto';
import { createContainer, exportContainer, removeContainer } from '../container.ts';
import { signalOf } from '../engine.ts';
import type { Feeder } from './feeder.ts';
import { receive } from './receive.ts';

/** What Docker puts into every container's file system, and no image has (moby, daemon/initlayer/setup_unix.go). */
const exportersOwn = ['.dockerenv'];

/**
 * A container is created, never started, and its file system comes as one tar: flat already, but of a form that no
 * digest of the engine's speaks of, so nothing of it is found again in the next build.
 */
export const exportFeeder: Feeder = {
  name: 'export',
  async feed({ engine, image, transient, scratch, onBytes, signal }) {
    const name = `claude-bottle-export-${randomBytes(6).toString('hex')}`;
    await scratch.expect({ kind: 'container', engine: engine.address, name });
    try {
      await createContainer(engine, { image: image.id, name, ...signalOf(signal) });
      const layer = await receive(
        await exportContainer(engine, name, { spool: scratch.file(`${name}.tar`), ...signalOf(signal) }),
        (bytes) => transient.ingest(bytes, { scratch: scratch.path, ...signalOf(signal) }),
        onBytes,
      );
      return { config: image.config, layers: [layer.diffId], dropPaths: exportersOwn };
    } finally {
      await scratch.undo(() => removeContainer(engine, name, signalOf(signal)));
    }
  },
};
