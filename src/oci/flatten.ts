import { createHash } from 'node:crypto';
import type { Blob } from './image.ts';
import type { OpenLayer } from './layer.ts';
import { PathsSprawl } from './errors.ts';
import { LayerTree, noLayer, pathOf, type TreeNode } from './layer-tree.ts';
import { madeLimit } from './path-limits.ts';
import { type SegmentList, SegmentListBuilder } from './segments.ts';
import { blockSize, tarTypes } from './tar-header.ts';
import type { TarIndex } from './tar-index.ts';
import { directoryHeaders, rewriteHeaders } from './tar-rewrite.ts';

export interface FlattenOptions {
  /** Paths from the root, without a leading slash, to leave out, each with everything below it. */
  readonly dropPaths?: readonly string[];
  readonly signal?: AbortSignal;
  /** Called with the bytes hashed since the last call. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * Merges layers, bottom first, into one tar archive that unpacks to what the whole stack unpacks to. Nothing is copied:
 * the result is a list of byte ranges over the layers, which must stay open as long as it is read. Headers are carried
 * over as they are, except where a hard link's data has to move to another of its names. The same layers give the same
 * bytes, always and everywhere.
 * @throws LayerDamaged, HardlinkBroken, PathEscapes, PathTooLong, PathsSprawl, SymlinkLoop,
 *   TarMalformed, or the reason of `signal`.
 */
export async function flatten(layers: readonly OpenLayer[], options: FlattenOptions = {}): Promise<Blob> {
  const segments = await merge(layers, options);
  const hash = createHash('sha256');
  for await (const bytes of segments.read(0, segments.size)) {
    options.signal?.throwIfAborted();
    hash.update(bytes);
    options.onBytes?.(bytes.length);
  }
  return {
    digest: `sha256:${hash.digest('hex')}`,
    size: segments.size,
    read: (start, end) => segments.read(start, end),
  };
}

async function merge(layers: readonly OpenLayer[], options: FlattenOptions): Promise<SegmentList> {
  const tree = new LayerTree();
  const indexes: TarIndex[] = [];
  for (const layer of layers) {
    options.signal?.throwIfAborted();
    const index = await layer.index(options.signal);
    indexes.push(index);
    tree.apply(index);
  }
  for (const path of options.dropPaths ?? []) tree.drop(path);
  const emitter = new Emitter(layers, indexes);
  if (tree.root.layer !== noLayer) await emitter.directory(tree.root);
  for (const node of tree.nodes()) {
    if (node.children !== undefined) await emitter.directory(node);
    else await emitter.leaf(node);
  }
  return emitter.end();
}

/** Writes nodes in the order they come, as ranges where their headers still hold and anew where not. */
class Emitter {
  readonly #segments = new SegmentListBuilder();
  readonly #layers: readonly OpenLayer[];
  readonly #indexes: readonly TarIndex[];

  readonly #madeLimit: number;
  #made = 0;

  constructor(layers: readonly OpenLayer[], indexes: readonly TarIndex[]) {
    this.#layers = layers;
    this.#indexes = indexes;
    this.#madeLimit = madeLimit(layers.reduce((sum, { size }) => sum + size, 0));
  }

  async directory(node: TreeNode): Promise<void> {
    const path = pathOf(node);
    const { layer, entry } = node;
    if (layer === noLayer) {
      this.#make(path, directoryHeaders(path));
      return;
    }
    const { index, file } = this.#at(layer);
    if (index.path(entry) === path && !index.irregular(entry)) {
      this.#segments.range(layer, index.start(entry), index.dataStart(entry));
    } else {
      this.#make(path, await rewritten(file, index, entry, { path, link: '', type: tarTypes.directory }));
    }
  }

  async leaf(node: TreeNode): Promise<void> {
    if (node.inode?.primary !== undefined) return this.#link(node, node.inode.primary);
    if (node.inode !== undefined) node.inode.primary = node;
    const { layer, entry } = node.inode ?? node;
    const { index, file } = this.#at(layer);
    const path = pathOf(node);
    if (index.path(entry) === path && !index.irregular(entry)) {
      this.#segments.range(layer, index.start(entry), index.end(entry));
    } else {
      const names = { path, link: index.link(entry), type: node.type };
      this.#make(path, await rewritten(file, index, entry, names));
      this.#segments.range(layer, index.dataStart(entry), index.end(entry));
    }
  }

  end(): SegmentList {
    this.#segments.literal(Buffer.alloc(2 * blockSize));
    return this.#segments.build(this.#layers);
  }

  async #link(node: TreeNode, primary: TreeNode): Promise<void> {
    const { layer, entry } = node;
    const { index, file } = this.#at(layer);
    const names = { path: pathOf(node), link: pathOf(primary), type: tarTypes.hardlink };
    const holds = index.path(entry) === names.path && index.link(entry) === names.link;
    if (holds && !index.irregular(entry)) {
      this.#segments.range(layer, index.start(entry), index.dataStart(entry));
    } else {
      this.#make(names.path, await rewritten(file, index, entry, names));
    }
  }

  #make(path: string, headers: Buffer): void {
    this.#made += headers.length;
    if (this.#made > this.#madeLimit) throw new PathsSprawl({ path, limit: this.#madeLimit });
    this.#segments.literal(headers);
  }

  #at(layer: number): { index: TarIndex; file: OpenLayer } {
    const index = this.#indexes[layer];
    const file = this.#layers[layer];
    if (index === undefined || file === undefined) throw new RangeError(`no layer ${layer}`);
    return { index, file };
  }
}

async function rewritten(
  file: OpenLayer,
  index: TarIndex,
  entry: number,
  names: { path: string; link: string; type: string },
): Promise<Buffer> {
  const start = index.start(entry);
  const group = Buffer.alloc(index.dataStart(entry) - start);
  await file.readInto(group, start);
  return rewriteHeaders(group, names);
}
