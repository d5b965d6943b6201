import { createHash } from 'node:crypto';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FlattenOptions, flatten } from '../../src/oci/flatten.ts';
import type { Blob } from '../../src/oci/image.ts';
import { OpenLayer } from '../../src/oci/layer.ts';
import { type BuildEntry, tarOf } from './tar-builder.ts';
import { type UnpackedFile, unpack } from './tar-unpack.ts';
import { collect, temporaryDirectory } from './temporary.ts';

export type Layers = readonly (readonly BuildEntry[])[];

/** Flattens layers given as entries and hands the result to `use`. */
export async function flattened<T>(
  layers: Layers,
  use: (blob: Blob, directory: string) => T | Promise<T>,
  options: FlattenOptions = {},
): Promise<T> {
  return flattenedTars(
    layers.map((entries) => tarOf(entries)),
    use,
    options,
  );
}

/** The same for layers given as archives. */
export async function flattenedTars<T>(
  tars: readonly Buffer[],
  use: (blob: Blob, directory: string) => T | Promise<T>,
  options: FlattenOptions = {},
): Promise<T> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await temporaryDirectory()).path;
  const opened: OpenLayer[] = [];
  for (const [number, tar] of tars.entries()) {
    const path = join(directory, `${number}.tar`);
    await writeFile(path, tar);
    const diffId = `sha256:${createHash('sha256').update(tar).digest('hex')}` as const;
    const facts = { diffId, size: tar.length, path, indexPath: `${path}.index` };
    opened.push(stack.use(new OpenLayer(await open(path), facts)));
  }
  return await use(await flatten(opened, options), directory);
}

export async function filesOf(
  layers: Layers,
  options: FlattenOptions = {},
): Promise<Map<string, UnpackedFile>> {
  return flattened(layers, async (blob) => unpack(await collect(blob.read(0, blob.size))), options);
}

/** Everything about the files, with hard links named by their first path in order. */
export function described(files: ReadonlyMap<string, UnpackedFile>): object {
  const names = new Map<UnpackedFile, string>();
  return Object.fromEntries(
    [...files]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([path, file]) => {
        if (!names.has(file)) names.set(file, path);
        return [path, { ...file, content: file.content.toString('latin1'), sameAs: names.get(file) }];
      }),
  );
}
