import type { Readable } from 'node:stream';
import { tarOf, type TarEntry } from '../tar/write.ts';
import type { HomeFile } from './home-file.ts';

/**
 * The files as a tar to be unpacked in the home of the bottle's user, who owns everything in it. The directories on the
 * way come before what is in them.
 */
export function homeTar(
  files: readonly HomeFile[],
  account: { readonly uid: number; readonly gid: number },
  modified: Date,
): Readable {
  return tarOf(entries(files), { uid: account.uid, gid: account.gid, modified });
}

async function* entries(files: readonly HomeFile[]): AsyncGenerator<TarEntry> {
  const made = new Set<string>();
  for (const file of files) {
    const parts = file.path.split('/');
    for (let length = 1; length < parts.length; length++) {
      const path = parts.slice(0, length).join('/');
      if (made.has(path)) continue;
      made.add(path);
      yield { kind: 'directory', path: oneCharacterAByte(path), mode: 0o755 };
    }
    const content = Buffer.from(file.content);
    yield {
      kind: 'file',
      path: oneCharacterAByte(file.path),
      mode: file.mode,
      size: content.length,
      body: () => bytes(content),
    };
  }
}

async function* bytes(content: Buffer): AsyncGenerator<Uint8Array> {
  yield content;
}

/** How the tar writer takes names. */
function oneCharacterAByte(path: string): string {
  return Buffer.from(path).toString('latin1');
}
