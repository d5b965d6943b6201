import { isIPv4, isIPv6 } from 'node:net';
import { domainToASCII } from 'node:url';

/** A host in its one spelling: a lower-case ASCII name without a final dot, or an address (IPv6 without brackets). */
export interface Host {
  readonly text: string;
  readonly isAddress: boolean;
}

/** `host` and `port` as they stand in a request. */
export interface Authority {
  readonly host: Host;
  readonly port: number | undefined;
}

/** One name of RFC 1035 size; underscores are common in the wild, so they pass. */
const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
/** What a resolver would read as a number, and so the whole name as an address (WHATWG URL §3.5, "ends in a number"). */
const numberLike = /^(?:[0-9]+|0x[0-9a-f]*)$/;

/**
 * Reads a host as it may stand in a request or a rule: any case, one final dot, IPv6 in brackets, Unicode (IDNA). What
 * has two readings is no host: percent-encoding, numbers that some resolvers take for IPv4 (`0x7f.1`, `2130706433`),
 * zone ids, control characters, anything that a URL parser would drop or split at.
 */
export function parseHost(text: string): Host | undefined {
  if (text.startsWith('[')) {
    const inner = text.slice(1, -1);
    return text.endsWith(']') && isIPv6(inner) ? parseIPv6(inner) : undefined;
  }
  if (isIPv4(text)) return { text, isAddress: true };
  const name = toAscii(text)?.toLowerCase().replace(/\.$/, '');
  if (name === undefined || name.length > 253) return undefined;
  const labels = name.split('.');
  if (!labels.every((part) => label.test(part)) || numberLike.test(labels.at(-1) ?? '')) return undefined;
  return { text: name, isAddress: false };
}

/** A host as people write it in a rule: IPv6 may stand without brackets. */
export function parseWrittenHost(text: string): Host | undefined {
  return isIPv6(text) ? parseIPv6(text) : parseHost(text);
}

/** The canonical text of an IPv6 address; RFC 5952, but for embedded IPv4, which is written in hexadecimal. */
function parseIPv6(text: string): Host | undefined {
  if (text.includes('%')) return undefined;
  return { text: new URL(`http://[${text}]/`).hostname.slice(1, -1), isAddress: true };
}

function toAscii(text: string): string | undefined {
  // Before the IDNA mapping, which takes a whole URL apart and would turn `a/b` into `a`.

  if (/[\x00-\x2c/:-@[-^`{-\x7f]/.test(text)) return undefined;

  if (!/[^\x00-\x7f]/.test(text)) return text;
  const ascii = domainToASCII(text);
  return ascii === '' || isIPv4(ascii) || ascii.startsWith('[') ? undefined : ascii;
}

/** Reads `host`, `host:port`, `[address]:port`. The port is 1 to 65535, in plain decimals. */
export function parseAuthority(text: string): Authority | undefined {
  const match = /^(\[[^\]]*\]|[^:[\]]*)(?::([1-9][0-9]{0,4}))?$/.exec(text);
  const host = parseHost(match?.[1] ?? '');
  const port = match?.[2] === undefined ? undefined : Number(match[2]);
  if (match === null || host === undefined || (port !== undefined && port > 65_535)) return undefined;
  return { host, port };
}

/** `host:port`, brackets where an address needs them. Without the port if it is `usual`. */
export function formatAuthority(host: string, port: number, usual?: number): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return port === usual ? name : `${name}:${port}`;
}
