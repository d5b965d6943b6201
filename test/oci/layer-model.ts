// What a stack of layers makes, said as plainly as possible: one flat map from path to file, searched and copied freely.

import type { BuildEntry } from './tar-builder.ts';
import type { UnpackedFile } from './tar-unpack.ts';

export class Refused extends Error {}

interface Item {
  file: UnpackedFile;
  layer: number;
}

export function applyLayers(layers: readonly (readonly BuildEntry[])[]): Map<string, UnpackedFile> {
  let tree = new Map<string, Item>();
  for (const [layer, entries] of layers.entries()) {
    tree = withoutHidden(tree, entries);
    for (const entry of entries) if (!baseOf(entry.path).startsWith('.wh.')) add(tree, entry, layer);
  }
  return new Map([...tree].map(([path, { file }]) => [path, file]));
}

function withoutHidden(tree: Map<string, Item>, entries: readonly BuildEntry[]): Map<string, Item> {
  const below = (path: string) => (other: string) => path === '' || other.startsWith(`${path}/`);
  let visible = [...tree];
  for (const { path } of entries) {
    const base = baseOf(path);
    const parent = parentOf(path);
    const isBelow = below(parent);
    const isHidden = (other: string) => {
      if (base === '.wh..wh..opq') return isBelow(other);
      if (!base.startsWith('.wh.') || base.startsWith('.wh..wh.')) return false;
      const hidden = join(parent, base.slice(4));
      return other === hidden || below(hidden)(other);
    };
    visible = visible.filter(([other]) => !isHidden(other));
  }
  return new Map(visible);
}

function add(tree: Map<string, Item>, entry: BuildEntry, layer: number): void {
  const file = entry.type === '1' ? linked(tree, entry.link ?? '') : fileOf(entry);
  const path = join(directoryAt(tree, parentOf(entry.path), layer, 0), baseOf(entry.path));
  const old = tree.get(path);
  if (entry.type === '1' && old?.file === file) return;
  if (!(file.type === '5' && old?.file.type === '5')) remove(tree, path);
  tree.set(path, { file, layer });
}

function linked(tree: Map<string, Item>, target: string): UnpackedFile {
  const file = tree.get(follow(tree, target, 0))?.file;
  if (file === undefined || file.type === '5') throw new Refused();
  return file;
}

/** The target of a hard link, links on the way to it resolved. */
function follow(tree: Map<string, Item>, path: string, hops: number): string {
  if (hops > 40) throw new Refused();
  let at = '';
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  for (const [number, part] of parts.entries()) {
    if (part === '..') at = parentOf(at);
    else {
      const next = join(at, part);
      const link = tree.get(next)?.file;
      if (link?.type === '2' && number < parts.length - 1) {
        const rest = parts.slice(number + 1).join('/');
        return follow(tree, `${link.link.startsWith('/') ? '' : at}/${link.link}/${rest}`, hops + 1);
      }
      at = next;
      if (link === undefined || (link.type !== '5' && number < parts.length - 1)) return 'nowhere at all';
    }
  }
  return at;
}

function directoryAt(tree: Map<string, Item>, path: string, layer: number, hops: number): string {
  if (hops > 40) throw new Refused();
  let at = '';
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  for (const [number, part] of parts.entries()) {
    if (part === '..') {
      at = parentOf(at);
      continue;
    }
    const next = join(at, part);
    const item = tree.get(next);
    if (item?.file.type === '2' && item.layer === layer) {
      const rest = parts.slice(number + 1).join('/');
      const start = item.file.link.startsWith('/') ? '' : at;
      return directoryAt(tree, `${start}/${item.file.link}/${rest}`, layer, hops + 1);
    }
    if (item?.file.type !== '5') {
      remove(tree, next);
      tree.set(next, { file: fileOf({ path: next, type: '5', mode: 0o755 }), layer });
    }
    at = next;
  }
  return at;
}

function remove(tree: Map<string, Item>, path: string): void {
  for (const other of [...tree.keys()]) {
    if (other === path || other.startsWith(`${path}/`)) tree.delete(other);
  }
}

function fileOf(entry: BuildEntry): UnpackedFile {
  const type = entry.type ?? '0';
  return {
    type,
    mode: entry.mode ?? 0o644,
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    mtime: entry.mtime ?? 0,
    link: type === '2' ? (entry.link ?? '') : '',
    device: type === '3' || type === '4' ? (entry.device ?? [0, 0]).join(':') : '',
    content: entry.data ?? Buffer.alloc(0),
    extra: entry.pax ?? {},
  };
}

function join(parent: string, name: string): string {
  return parent === '' ? name : `${parent}/${name}`;
}

function baseOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function parentOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
}
