import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { Digest } from '../../oci/digest.ts';
import { fit, int } from '../../schema.ts';

const Entry = v.object({ format: v.literal(1), image: Digest, builds: v.pipe(int, v.minValue(1)) });

/** What tells one source of images from another: for a build the engine, the directory, the Dockerfile and the target. */
export type Source = readonly string[];

/** Remembers for each source which image it gave last, and how many different ones so far. Losing it costs only time. */
export class SourceHistory {
  readonly #root: string;
  readonly #scratch: string;

  /** @param scratch a directory on the same file system, for a file on its way. */
  constructor(root: string, scratch: string) {
    this.#root = root;
    this.#scratch = scratch;
  }

  /**
   * Notes that a source gave an image.
   * @returns how many different images in a row it has given, this one included.
   */
  async note(source: Source, image: Digest): Promise<number> {
    const path = join(this.#root, `${nameOf(source)}.json`);
    const last = await read(path);
    if (last?.image === image) return last.builds;
    const entry = { format: 1, image, builds: (last?.builds ?? 0) + 1 } as const;
    await write(path, this.#scratch, entry).catch(() => undefined);
    return entry.builds;
  }
}

/** Each part is counted, so that no two sources run together. */
function nameOf(source: Source): string {
  const text = source.map((part) => `${part.length}:${part}`).join('');
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

async function read(path: string): Promise<v.InferOutput<typeof Entry> | undefined> {
  try {
    return fit(Entry, JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}

async function write(path: string, scratch: string, entry: v.InferOutput<typeof Entry>): Promise<void> {
  await mkdir(join(path, '..'), { recursive: true, mode: 0o700 });
  const temporary = join(scratch, `history-${randomBytes(4).toString('hex')}`);
  try {
    await writeFile(temporary, JSON.stringify(entry), { mode: 0o600 });
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}
