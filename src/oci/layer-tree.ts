import { HardlinkBroken, PathEscapes, PathsSprawl, SymlinkLoop } from './errors.ts';
import { madeLimit, pathLimit, pathTooLong } from './path-limits.ts';
import { blockSize, tarTypes } from './tar-header.ts';
import type { TarIndex } from './tar-index.ts';

// image-spec, layer.md §Whiteouts. The prefix for aufs's own bookkeeping is Docker's (pkg/archive/whiteouts.go).
const whiteout = '.wh.';
const opaque = '.wh..wh..opq';
const aufsMark = '.wh..wh.';
/** Where aufs, and so every image built on it, kept files with several names; entries link into it. */
const aufsLinks = '.wh..wh.plnk/';

/** As many symbolic links in one path as Linux follows. */
const symlinkLimit = 40;

/** The layer number of what no layer describes. */
export const noLayer = -1;

/** What several names share: the record with the data, and, once it is known, the name that carries it. */
export interface Inode {
  readonly layer: number;
  readonly entry: number;
  readonly type: string;
  primary: TreeNode | undefined;
}

/** One name in the merged file system. */
export interface TreeNode {
  readonly name: string;
  readonly parent: TreeNode | undefined;
  /** Bytes of the path from the root. */
  readonly pathLength: number;
  /** Present for a directory, and only there. */
  readonly children: Map<string, TreeNode> | undefined;
  /** The type flag; a hard link has that of what it links to. */
  readonly type: string;
  /** The layer of the record that made or last described it, or `noLayer`, and the number of the record there. */
  layer: number;
  entry: number;
  /** Present for what has, or had, more than one name. */
  inode: Inode | undefined;
  removed: boolean;
}

/**
 * The file system that a stack of layers makes, as the engines unpack it (image-spec, layer.md §Applying Changesets).
 * Layers are taken from the bottom up.
 */
export class LayerTree {
  readonly root: TreeNode = directory('', undefined);
  /** Every name in the order in which it came to be: parents before children, a link's target before the link. */
  readonly #created: TreeNode[] = [];
  readonly #indexes: TarIndex[] = [];
  readonly #aufsLinked = new Map<string, Inode>();
  /** Bytes of all layers so far. */
  #layerBytes = 0;
  /** Bytes, at the least, of the headers of directories that were implied. */
  #impliedBytes = 0;
  #lastParentPath = '';
  #lastParent = this.root;

  /** @throws HardlinkBroken, PathEscapes, PathTooLong, PathsSprawl, SymlinkLoop */
  apply(index: TarIndex): void {
    const layer = this.#indexes.push(index) - 1;
    this.#layerBytes += index.archiveSize;
    this.#aufsLinked.clear();
    this.#forgetParent();
    // Whiteouts speak of the layers below, wherever in their own layer they stand.
    for (let entry = 0; entry < index.count; entry++) {
      const path = index.path(entry);
      if (path.includes(whiteout)) this.#hide(path);
    }
    for (let entry = 0; entry < index.count; entry++) {
      this.#add(index.path(entry), index, layer, entry);
    }
  }

  /** Removes a path, literally, with everything below it. */
  drop(path: string): void {
    const node = this.#literal(path.split('/'));
    if (node !== undefined && node !== this.root) this.#remove(node);
  }

  /** What is there in the end, in an order in which it can be unpacked. The root is not among it. */
  *nodes(): Generator<TreeNode> {
    for (const node of this.#created) if (!node.removed) yield node;
  }

  #hide(path: string): void {
    const slash = path.lastIndexOf('/');
    const name = path.slice(slash + 1);
    if (!name.startsWith(whiteout)) return;
    const parent = slash === -1 ? this.root : this.#literal(path.slice(0, slash).split('/'));
    if (name === opaque) {
      for (const child of parent?.children?.values() ?? []) this.#remove(child);
    } else if (!name.startsWith(aufsMark)) {
      const hidden = name.slice(whiteout.length);
      if (hidden === '' || hidden === '.' || hidden === '..') throw new PathEscapes({ path });
      const child = parent?.children?.get(hidden);
      if (child !== undefined) this.#remove(child);
    }
  }

  #add(path: string, index: TarIndex, layer: number, entry: number): void {
    const type = index.type(entry);
    if (path === '') {
      this.root.layer = layer;
      this.root.entry = entry;
      return;
    }
    if (path.includes(whiteout)) {
      if (path.startsWith(aufsLinks) && type === tarTypes.file) {
        this.#aufsLinked.set(path, { layer, entry, type, primary: undefined });
      }
      const parts = path.split('/');
      if (parts.at(-1)?.startsWith(whiteout) || parts.some((part) => part.startsWith(aufsMark))) return;
    }
    // Before anything is moved out of the way, since that may be what the link names.
    const inode = type === tarTypes.hardlink ? this.#linked(path, index.link(entry)) : undefined;
    const parent = this.#parentOf(path, layer);
    const name = index.name(entry);
    const existing = parent.children?.get(name);
    if (type === tarTypes.directory) {
      if (existing?.children === undefined) {
        this.#place(directory(name, parent, layer, entry), existing);
      } else {
        existing.layer = layer;
        existing.entry = entry;
      }
      return;
    }
    // A link to itself is what GNU tar writes for a file that it was told to pack twice.
    if (inode !== undefined && existing?.inode === inode) return;
    const pathLength = lengthBelow(parent, name);
    const own = inode?.type ?? type;
    this.#place(
      { name, parent, pathLength, children: undefined, type: own, layer, entry, inode, removed: false },
      existing,
    );
  }

  #linked(path: string, target: string): Inode {
    const inAufs = this.#aufsLinked.get(target);
    if (inAufs !== undefined) return inAufs;
    const node = this.#lookUp(target, path);
    if (node === undefined) throw new HardlinkBroken({ path, target, reason: 'missing' });
    if (node.children !== undefined) throw new HardlinkBroken({ path, target, reason: 'directory' });
    const { layer, entry, type } = node;
    node.inode ??= { layer, entry, type, primary: undefined };
    return node.inode;
  }

  /** Most entries lie in the same directory as the one before. */
  #parentOf(path: string, layer: number): TreeNode {
    const slash = path.lastIndexOf('/');
    if (slash === -1) return this.root;
    const parentPath = path.slice(0, slash);
    if (parentPath !== this.#lastParentPath) {
      this.#lastParent = this.#directoryFor(parentPath.split('/'), layer, path);
      this.#lastParentPath = parentPath;
    }
    return this.#lastParent;
  }

  /**
   * The directory at `parts`, made where it is missing. A symbolic link of the same layer is followed, as it is when that
   * layer is unpacked; one of a lower layer, or a file, gives way to a directory, as in every engine that unpacks each
   * layer by itself.
   */
  #directoryFor(parts: string[], layer: number, path: string): TreeNode {
    let node = this.root;
    let hops = 0;
    const ahead = parts.toReversed();
    for (let part = ahead.pop(); part !== undefined; part = ahead.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        node = node.parent ?? this.root;
        continue;
      }
      const child = node.children?.get(part);
      if (child?.children !== undefined) {
        node = child;
      } else if (child?.type === tarTypes.symlink && child.layer === layer) {
        hops += 1;
        node = this.#turn(child, hops, ahead, path);
      } else {
        const made = directory(part, node);
        this.#place(made, child);
        node = made;
        this.#impliedBytes += blockSize + made.pathLength;
        const limit = madeLimit(this.#layerBytes);
        if (this.#impliedBytes > limit) throw new PathsSprawl({ path, limit });
      }
    }
    return node;
  }

  /** The node at a path, symbolic links on the way followed, the last part taken as it is. */
  #lookUp(target: string, path: string): TreeNode | undefined {
    let node: TreeNode | undefined = this.root;
    let hops = 0;
    const ahead = target.split('/').toReversed();
    for (let part = ahead.pop(); part !== undefined && node !== undefined; part = ahead.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        node = node.parent ?? this.root;
        continue;
      }
      const child: TreeNode | undefined = node.children?.get(part);
      if (child?.type === tarTypes.symlink && ahead.length > 0) {
        hops += 1;
        node = this.#turn(child, hops, ahead, path);
      } else {
        node = child;
      }
    }
    return node;
  }

  /** Puts a symbolic link's target before what is `ahead`; returns where to go on from. */
  #turn(link: TreeNode, hops: number, ahead: string[], path: string): TreeNode {
    if (hops > symlinkLimit) throw new SymlinkLoop({ path });
    const { layer, entry } = link.inode ?? link;
    const target = this.#indexes[layer]?.link(entry) ?? '';
    for (const part of target.split('/').toReversed()) ahead.push(part);
    return target.startsWith('/') ? this.root : (link.parent ?? this.root);
  }

  #literal(parts: readonly string[]): TreeNode | undefined {
    let node: TreeNode | undefined = this.root;
    for (const part of parts) node = node?.children?.get(part);
    return node;
  }

  #place(node: TreeNode, instead: TreeNode | undefined): void {
    if (instead !== undefined) {
      this.#remove(instead);
      // The way to it may have led through what is gone: a directory, or a symbolic link.
      this.#forgetParent();
    }
    // Symbolic links on its way make a path longer than any that a layer wrote.
    if (node.pathLength > pathLimit) throw pathTooLong(pathOf(node), node.pathLength, pathLimit);
    node.parent?.children?.set(node.name, node);
    this.#created.push(node);
  }

  #forgetParent(): void {
    this.#lastParentPath = '';
    this.#lastParent = this.root;
  }

  #remove(node: TreeNode): void {
    node.parent?.children?.delete(node.name);
    const doomed = [node];
    for (let next = doomed.pop(); next !== undefined; next = doomed.pop()) {
      next.removed = true;
      for (const child of next.children?.values() ?? []) doomed.push(child);
    }
  }
}

/** The path from the root, without a leading slash. */
export function pathOf(node: TreeNode): string {
  let path = node.name;
  for (let parent = node.parent; parent?.parent !== undefined; parent = parent.parent) {
    path = `${parent.name}/${path}`;
  }
  return path;
}

function directory(name: string, parent: TreeNode | undefined, layer: number = noLayer, entry = 0): TreeNode {
  const type = tarTypes.directory;
  const pathLength = lengthBelow(parent, name);
  return {
    name,
    parent,
    pathLength,
    children: new Map(),
    type,
    layer,
    entry,
    inode: undefined,
    removed: false,
  };
}

function lengthBelow(parent: TreeNode | undefined, name: string): number {
  return parent?.parent === undefined ? name.length : parent.pathLength + 1 + name.length;
}
