import { posix } from 'node:path';
import { isZeroBlock, parseTarHeader, blockSize, tarTypes } from '../oci/tar-header.ts';
import { type FilesOptions, getFiles } from './container-files.ts';
import type { Engine } from './engine.ts';
import { EngineAnswerUnknown, EngineCommandFailed } from './errors.ts';

/** As bottle-init has it for /etc/passwd. */
const sizeMax = 16 * 1024 * 1024;
const linksMax = 8;

/**
 * The text of a small file of a container, one character a byte; `undefined` when there is none.
 * @throws EngineAnswerUnknown when it is no regular file, or over 16 MiB.
 */
export async function readContainerText(
  engine: Engine,
  name: string,
  path: string,
  options: FilesOptions = {},
): Promise<string | undefined> {
  let at = path;
  for (let links = 0; links <= linksMax; links++) {
    const found = await readEntry(engine, name, at, options);
    if (found === undefined) return undefined;
    if ('text' in found) return found.text;
    at = posix.resolve(posix.dirname(at), found.link);
  }
  throw strange(engine, `${path} is a chain of more than ${linksMax} links`);
}

async function readEntry(
  engine: Engine,
  name: string,
  path: string,
  options: FilesOptions,
): Promise<{ readonly text: string } | { readonly link: string } | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    await using transfer = await getFiles(engine, name, path, options);
    for await (const chunk of transfer.bytes as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > sizeMax) throw strange(engine, `${path} is too large`);
    }
    await transfer.finish();
  } catch (error) {
    if (error instanceof EngineCommandFailed && isNothingThere(error.fields.words ?? '')) return undefined;
    throw error;
  }
  return entryOf(engine, Buffer.concat(chunks), path);
}

/** Whether these are an engine's words for a path that a container does not have. */
export function isNothingThere(words: string): boolean {
  return /could not find the file|no such file or directory|could not be found on container|not a directory/i.test(
    words,
  );
}

/** The first entry that is no extended header: engines put some before names that a plain header cannot hold. */
function entryOf(engine: Engine, tar: Buffer, path: string) {
  for (let at = 0; at + blockSize <= tar.length && !isZeroBlock(tar, at);) {
    const { type, size, link } = parseTarHeader(tar, at, at);
    const start = at + blockSize;
    if (type === tarTypes.symlink) return { link };
    if (type === tarTypes.file || type === tarTypes.oldFile) {
      return { text: tar.toString('latin1', start, start + size) };
    }
    if (type !== tarTypes.pax && type !== tarTypes.paxGlobal) break;
    at = start + Math.ceil(size / blockSize) * blockSize;
  }
  throw strange(engine, `${path} is not a regular file`);
}

function strange(engine: Engine, reason: string): Error {
  return new EngineAnswerUnknown({ command: engine.command, request: 'cp', reason });
}
