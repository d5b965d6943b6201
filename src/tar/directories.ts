import type { Readable } from 'node:stream';
import { type TarEntry, tarOf } from './write.ts';

/** A tar of directories, each in the one before it: root's, 0755, of now. */
export function directoriesTar(names: readonly string[]): Readable {
  return tarOf(directories(names), { uid: 0, gid: 0, modified: new Date() });
}

async function* directories(names: readonly string[]): AsyncGenerator<TarEntry> {
  for (const [depth] of names.entries()) {
    const path = names.slice(0, depth + 1).join('/');
    // The tar writer takes names as one character a byte.
    yield { kind: 'directory', path: Buffer.from(path).toString('latin1'), mode: 0o755 };
  }
}
