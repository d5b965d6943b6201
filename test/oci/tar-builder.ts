// Writes tar archives of every flavour, independently of the code under test.

export interface BuildEntry {
  path: string;
  type?: string;
  data?: Buffer;
  link?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  /** Records of a pax header before the entry. */
  pax?: Record<string, string>;
  /** How names of more than 100 bytes are written. */
  long?: 'pax' | 'gnu' | 'prefix';
  magic?: 'ustar' | 'gnu' | 'v7';
  /** What the size field says, where that is not the length of the data. */
  size?: number;
  sizeField?: Buffer;
  prefix?: string;
  device?: [number, number];
}

export const endOfArchive = Buffer.alloc(1024);

export function tarOf(entries: readonly BuildEntry[], end: Buffer = endOfArchive): Buffer {
  return Buffer.concat([...entries.map(entryBytes), end]);
}

export function entryBytes(entry: BuildEntry): Buffer {
  const { path, link = '', data = Buffer.alloc(0), long = 'pax' } = entry;
  const parts: Buffer[] = [];
  const pax: Record<string, string> = { ...entry.pax };
  let prefix = entry.prefix ?? '';
  let name = path;
  if (long === 'prefix' && Buffer.byteLength(path, 'latin1') > 100) {
    const cut = path.indexOf('/', path.length - 101);
    prefix = path.slice(0, cut);
    name = path.slice(cut + 1);
  } else {
    if (path.length > 100 && long === 'pax') pax.path = path;
    if (link.length > 100 && long === 'pax') pax.linkpath = link;
    if (link.length > 100 && long === 'gnu') parts.push(special('K', `${link}\0`));
    if (path.length > 100 && long === 'gnu') parts.push(special('L', `${path}\0`));
  }
  if (Object.keys(pax).length > 0) parts.unshift(special('x', Object.entries(pax).map(paxRecord).join('')));
  parts.push(
    header({
      ...entry,
      path: name,
      prefix,
      link,
      size: entry.size ?? data.length,
      magic: entry.magic ?? (long === 'gnu' ? 'gnu' : 'ustar'),
    }),
    data,
    Buffer.alloc((512 - (data.length % 512)) % 512),
  );
  return Buffer.concat(parts);
}

export function special(type: string, data: string): Buffer {
  const bytes = Buffer.from(data, 'latin1');
  return entryBytes({
    path: '././@Special',
    type,
    data: bytes,
    magic: type === 'x' || type === 'g' ? 'ustar' : 'gnu',
  });
}

export function paxRecord([key, value]: [string, string]): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

function header(entry: BuildEntry & { link: string; size: number; prefix: string }): Buffer {
  const block = Buffer.alloc(512);
  const octal = (at: number, width: number, value: number) =>
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
  block.write(entry.path.slice(0, 100), 0, 'latin1');
  octal(100, 8, entry.mode ?? 0o644);
  octal(108, 8, entry.uid ?? 0);
  octal(116, 8, entry.gid ?? 0);
  if (entry.sizeField !== undefined) entry.sizeField.copy(block, 124);
  else octal(124, 12, entry.size);
  octal(136, 12, entry.mtime ?? 0);
  block.write(entry.type ?? '0', 156, 'latin1');
  block.write(entry.link.slice(0, 100), 157, 'latin1');
  if (entry.magic !== 'v7') block.write(entry.magic === 'gnu' ? 'ustar  \0' : 'ustar\x0000', 257, 'latin1');
  if (entry.device !== undefined) {
    octal(329, 8, entry.device[0]);
    octal(337, 8, entry.device[1]);
  }
  block.write(entry.prefix, 345, 'latin1');
  fixChecksum(block);
  return block;
}

export function fixChecksum(block: Buffer, at = 0): void {
  block.fill(' ', at + 148, at + 156);
  const sum = block.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
}
