import { isIPv4, isIPv6 } from 'node:net';

/** What an address is for. Only `public` ones are dialled unless a rule names the kind. */
export const addressKinds = [
  'public',
  'metadata',
  'loopback',
  'own',
  'unspecified',
  'private',
  'link-local',
  'shared',
  'multicast',
  'broadcast',
  'documentation',
  'benchmarking',
  'translated',
  'reserved',
] as const;
export type AddressKind = (typeof addressKinds)[number];

type Block = readonly [prefix: string, bits: number, kind: AddressKind];

/** IANA IPv4 Special-Purpose Address Registry, and where clouds keep their metadata. The first match counts. */
const blocks4: readonly Block[] = [
  ['169.254.169.254', 32, 'metadata'],
  // Amazon ECS and EKS hand out credentials here.
  ['169.254.170.2', 32, 'metadata'],
  ['169.254.170.23', 32, 'metadata'],
  // Alibaba Cloud, Oracle Cloud, and Azure's wire server, which sits in public space.
  ['100.100.100.200', 32, 'metadata'],
  ['192.0.0.192', 32, 'metadata'],
  ['168.63.129.16', 32, 'metadata'],
  ['0.0.0.0', 8, 'unspecified'],
  ['127.0.0.0', 8, 'loopback'],
  ['10.0.0.0', 8, 'private'],
  ['172.16.0.0', 12, 'private'],
  ['192.168.0.0', 16, 'private'],
  ['169.254.0.0', 16, 'link-local'],
  ['100.64.0.0', 10, 'shared'],
  ['192.0.2.0', 24, 'documentation'],
  ['198.51.100.0', 24, 'documentation'],
  ['203.0.113.0', 24, 'documentation'],
  ['198.18.0.0', 15, 'benchmarking'],
  ['192.88.99.0', 24, 'translated'],
  ['192.0.0.0', 24, 'reserved'],
  ['224.0.0.0', 4, 'multicast'],
  ['255.255.255.255', 32, 'broadcast'],
  ['240.0.0.0', 4, 'reserved'],
];

/** IANA IPv6 Special-Purpose Address Registry; global unicast is 2000::/3 only (RFC 4291 §2.4). */
const blocks6: readonly Block[] = [
  ['fd00:ec2::254', 128, 'metadata'],
  ['fd00:ec2::23', 128, 'metadata'],
  ['fd20:ce::254', 128, 'metadata'],
  ['::', 128, 'unspecified'],
  ['::1', 128, 'loopback'],
  ['fe80::', 10, 'link-local'],
  ['fc00::', 7, 'private'],
  ['fec0::', 10, 'private'],
  ['ff00::', 8, 'multicast'],
  ['2001:db8::', 32, 'documentation'],
  ['3fff::', 20, 'documentation'],
  ['2001:2::', 48, 'benchmarking'],
  ['2001::', 32, 'translated'],
  ['2002::', 16, 'translated'],
  // NAT64 with a local prefix: what is embedded, and where, is known only to that network (RFC 8215).
  ['64:ff9b:1::', 48, 'translated'],
  ['2001::', 23, 'reserved'],
  ['2000::', 3, 'public'],
  ['::', 0, 'reserved'],
];

const table4 = blocks4.map(compile);
const table6 = blocks6.map(compile);
const mapped = compile(['::ffff:0:0', 96, 'translated']);
const nat64 = compile(['64:ff9b::', 96, 'translated']);
const compatible = compile(['::', 96, 'translated']);

/**
 * The kind of an IPv4 or IPv6 address. An IPv4-mapped address and one behind the well-known NAT64 prefix are what they
 * embed, since that is who answers; other embeddings are `translated`. `own` are the addresses of this host's
 * interfaces. Text that is no address is `reserved`, so never dialled.
 */
export function addressKind(address: string, own: readonly string[] = []): AddressKind {
  const parsed = parseAddress(address);
  if (parsed === undefined) return 'reserved';
  const bytes = within(parsed, mapped) || within(parsed, nat64) ? parsed.subarray(12) : parsed;
  const kind = kindOf(bytes);
  if (kind === 'loopback' || kind === 'metadata') return kind;
  return own.some((mine) => sameBytes(parseAddress(mine), bytes)) ? 'own' : kind;
}

function kindOf(bytes: Uint8Array): AddressKind {
  if (bytes.length === 4) return lookUp(table4, bytes) ?? 'public';
  const inner = bytes.subarray(12);
  if (within(bytes, compatible) && !inner.every((byte, i) => byte === 0 || (i === 3 && byte === 1))) {
    return 'translated';
  }
  return lookUp(table6, bytes) ?? 'reserved';
}

interface Compiled {
  readonly prefix: Uint8Array;
  readonly bits: number;
  readonly kind: AddressKind;
}

function compile([text, bits, kind]: Block): Compiled {
  const prefix = parseAddress(text);
  if (prefix === undefined) throw new TypeError(`not an address: ${text}`);
  return { prefix, bits, kind };
}

function lookUp(table: readonly Compiled[], bytes: Uint8Array): AddressKind | undefined {
  return table.find((block) => within(bytes, block))?.kind;
}

function within(bytes: Uint8Array, { prefix, bits }: Compiled): boolean {
  if (bytes.length !== prefix.length) return false;
  for (let bit = 0; bit < bits; bit += 8) {
    const mask = bits - bit >= 8 ? 0xff : (0xff00 >> (bits - bit)) & 0xff;
    const i = bit >> 3;
    if (((bytes[i] ?? 0) & mask) !== ((prefix[i] ?? 0) & mask)) return false;
  }
  return true;
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0;
}

/** 4 or 16 bytes in network order; a zone id is left out. */
function parseAddress(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number);
  const [plain = ''] = text.split('%');
  if (!isIPv6(plain)) return undefined;
  // The URL parser writes every address in hexadecimal groups with one `::` at most.
  const canonical = new URL(`http://[${plain}]/`).hostname.slice(1, -1);
  const [head = '', tail] = canonical.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return Uint8Array.from(
    groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]),
  );
}
