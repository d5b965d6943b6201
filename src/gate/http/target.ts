import { type Authority, type Host, parseAuthority } from '../host.ts';
import { malformed } from '../refusal.ts';
import type { RequestHead } from './head.ts';

/** Whom a request is for. */
export type Target =
  | { readonly kind: 'tunnel'; readonly host: Host; readonly port: number }
  | {
      readonly kind: 'http';
      readonly host: Host;
      readonly port: number;
      /** Without the query. */
      readonly path: string;
      /** With it: the target in origin form, for the host. */
      readonly origin: string;
    };

/**
 * Reads the target of a request to a proxy (RFC 9112 §3.2): `http://host/path`, or `host:port` for CONNECT. `Host` must
 * name the same, once.
 * @throws Refusal
 */
export function parseTarget(head: RequestHead): Target {
  const target = head.method === 'CONNECT' ? parseTunnel(head.target) : parseAbsolute(head.target);
  checkHost(head, target);
  return target;
}

function parseTunnel(text: string): Target {
  const authority = parseAuthority(text);
  if (authority?.port === undefined) throw ambiguous('CONNECT');
  return { kind: 'tunnel', host: authority.host, port: authority.port };
}

function parseAbsolute(text: string): Target {
  const match = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?$/i.exec(text);
  if (match === null) {
    throw malformed('this is a proxy, and the target is not an absolute http:// URL', 'not-proxy-form');
  }
  const [, scheme = '', rawAuthority = '', rawPath = '', query = '', fragment] = match;
  if (scheme.toLowerCase() !== 'http') {
    throw malformed('only http:// may be asked for in the open; use CONNECT for https', 'not-proxy-form');
  }
  if (fragment !== undefined) throw malformed('the target has a fragment');
  if (rawAuthority.includes('@')) throw malformed('the target has a user name in it');
  const authority = parseAuthority(rawAuthority);
  if (authority === undefined) throw ambiguous('the target');
  const path = rawPath === '' ? '/' : rawPath;
  return { kind: 'http', host: authority.host, port: authority.port ?? 80, path, origin: `${path}${query}` };
}

function checkHost({ method, minor, fields }: RequestHead, { host, port, kind }: Target): void {
  const values = fields.all('host');
  const [value] = values;
  if (value === undefined) {
    // The authority of CONNECT is its whole target, so clients that leave Host out are understood.
    if (minor === 1 && method !== 'CONNECT') throw malformed('there is no Host field');
    return;
  }
  if (values.length > 1) throw malformed('there is more than one Host field');
  const named: Authority | undefined = parseAuthority(value);
  if (named === undefined) throw ambiguous('Host');
  const namedPort = named.port ?? (kind === 'tunnel' ? port : 80);
  if (named.host.text !== host.text || namedPort !== port) {
    throw malformed('Host names another host than the target', 'host-mismatch');
  }
}

function ambiguous(where: string) {
  return malformed(`the host in ${where} can be read in more than one way`, 'ambiguous-host');
}
