import type { AuditRecord } from './audit.ts';
import { ownName } from './own-name.ts';

/** A host that the bottle was let through to. */
export interface ReachedHost {
  readonly host: string;
  readonly port: number;
  /** Requests and tunnels. */
  readonly requests: number;
  /** So many of them came to nothing: the host could not be reached, or broke off. */
  readonly failed: number;
  /** Bytes of bodies and tunnels that have ended, to the bottle and from it. */
  readonly in: number;
  readonly out: number;
}

/** A host that the bottle asked for and did not get. */
export interface RefusedHost {
  readonly host: string;
  readonly port: number;
  readonly requests: number;
  /** Of the last refusal. */
  readonly reason: string;
  /** The command that allows it; absent where no command helps: a rule of a file denies it, or what came was no TLS. */
  readonly allow?: string;
}

/** Where a bottle went, and where it did not get. All of it is JSON. */
export interface EgressSummary {
  /** Requests and tunnels so far. The seal check's and those to the gate's own name are not counted. */
  readonly allowed: number;
  readonly denied: number;
  readonly failed: number;
  readonly in: number;
  readonly out: number;
  /** The most asked first. */
  readonly reached: readonly ReachedHost[];
  readonly refused: readonly RefusedHost[];
  /** Requests for hosts that are in neither list, because there are too many. */
  readonly unlisted: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A bottle can ask for as many names as it likes, so only the first ones are remembered. */
const maxHosts = 256;

/** Adds up what the gate decided, by host, in bounded memory. */
export class EgressTally {
  readonly #counts = { allow: 0, deny: 0, fail: 0 };
  readonly #bytes = { in: 0, out: 0 };
  readonly #reached = new Map<string, Mutable<ReachedHost>>();
  readonly #refused = new Map<string, Mutable<RefusedHost>>();
  #unlisted = 0;

  /** @param allow the command that allows what was refused. */
  add(record: AuditRecord, allow?: string): void {
    const { event, decision, host, port, reason = '' } = record;
    // A name below .invalid leads nowhere and nobody can allow it: the canary of the seal check is one.
    if (event === 'policy' || event === 'seal' || host === ownName || host?.endsWith('.invalid')) return;
    this.#bytes.in += record.in;
    this.#bytes.out += record.out;
    // The line that opens a tunnel counts it, the one that closes it has the bytes.
    const ask = event === 'close' ? 0 : 1;
    this.#counts[decision] += ask;
    if (host === undefined || port === undefined) return;
    const key = `${host} ${port}`;
    if (decision === 'deny' && event !== 'close') {
      const known = entry(this.#refused, key, { host, port, requests: 0, reason });
      if (known === undefined) this.#unlisted += 1;
      else {
        known.requests += 1;
        known.reason = reason;
        if (allow === undefined) delete known.allow;
        else known.allow = allow;
      }
      return;
    }
    const known = entry(this.#reached, key, { host, port, requests: 0, failed: 0, in: 0, out: 0 });
    if (known === undefined) this.#unlisted += ask;
    else {
      known.requests += ask;
      known.failed += decision === 'fail' ? ask : 0;
      known.in += record.in;
      known.out += record.out;
    }
  }

  /** @param hosts how many of each list. */
  summary(hosts: number = maxHosts): EgressSummary {
    const { allow, deny, fail } = this.#counts;
    const reached = most(this.#reached);
    const refused = most(this.#refused);
    const beyond = [...reached.slice(hosts), ...refused.slice(hosts)];
    return {
      allowed: allow,
      denied: deny,
      failed: fail,
      ...this.#bytes,
      reached: reached.slice(0, hosts),
      refused: refused.slice(0, hosts),
      unlisted: beyond.reduce((sum, { requests }) => sum + requests, this.#unlisted),
    };
  }

  get counts(): { readonly allowed: number; readonly denied: number; readonly failed: number } {
    const { allow, deny, fail } = this.#counts;
    return { allowed: allow, denied: deny, failed: fail };
  }
}

function entry<T>(map: Map<string, T>, key: string, fresh: T): T | undefined {
  const known = map.get(key);
  if (known !== undefined) return known;
  if (map.size >= maxHosts) return undefined;
  map.set(key, fresh);
  return fresh;
}

function most<T extends { readonly requests: number }>(map: Map<string, T>): T[] {
  return [...map.values()].map((one) => ({ ...one })).sort((a, b) => b.requests - a.requests);
}
