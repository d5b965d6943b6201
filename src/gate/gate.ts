import { chmod } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { AuditLog, type AuditOptions, type AuditRecord } from './audit.ts';
import { Channel } from './channel.ts';
import { hostNetwork, type Network } from './dial.ts';
import { type EgressSummary, EgressTally } from './egress.ts';
import { type AuditUnwritable, GateSocketUnusable } from './errors.ts';
import { Account, type Flow, type Surroundings } from './flow.ts';
import { Buffers } from './inlet.ts';
import { defaultLimits, type Limits } from './limits.ts';
import { Policy } from './policy.ts';
import { Refusal, remedy, renderRefusal } from './refusal.ts';
import { linger } from './relay.ts';
import { formatOrigin, formatRule, type Rule } from './rule.ts';
import { denial, Session } from './session.ts';

export interface GateOptions {
  /** Where to listen. At most 107 bytes (unix(7)), in a directory of ours. */
  readonly socketPath: string;
  /** Mode of the socket. Default 0600; more if the bottle's user is not this one. */
  readonly socketMode?: number;
  /** The bottle's name: in refusals and in the log. */
  readonly slug: string;
  readonly rules: readonly Rule[];
  readonly audit: AuditOptions;
  readonly limits?: Partial<Limits>;
  /** Default: the host's. */
  readonly network?: Network;
}

/** What a run-time rule changed. */
export interface PolicyChange {
  /** A rule that still denies what was just allowed: a rule of a file or preset wins over `allow`. */
  readonly overruledBy: Rule | undefined;
  /** Requests and tunnels under way that were cut. */
  readonly cut: number;
}

export interface GateCounts {
  /** Open connections from the bottle. */
  readonly connections: number;
  /** Requests and tunnels so far. The seal check's and those to the gate's own name are not counted. */
  readonly allowed: number;
  readonly denied: number;
  readonly failed: number;
}

const maxSocketPath = 107;
/** Connections beyond the limit that are told so at the same time; still more are just closed. */
const refusedAtOnce = 64;
/** A connection that has just come may have its request on the way, so it is not idle yet. */
const minIdleMs = 1000;

/**
 * The one way out of a bottle: a proxy on a Unix socket that lets through what its policy allows and writes down
 * everything. If it cannot write, it closes.
 */
export class Gate implements AsyncDisposable {
  readonly socketPath: string;
  /** Resolves once the gate is closed: with the reason if it closed by itself. */
  readonly closed: Promise<AuditUnwritable | undefined>;
  readonly #server: Server;
  readonly #audit: AuditLog;
  readonly #surroundings: Surroundings;
  readonly #sessions = new Map<Socket, Session | undefined>();
  /** Sessions that may still have a line to write. None rejects. */
  readonly #running = new Set<Promise<void>>();
  readonly #flows = new Set<Flow>();
  readonly #tally = new EgressTally();
  #policy: Policy;
  #failure: AuditUnwritable | undefined;

  private constructor(options: GateOptions) {
    this.socketPath = options.socketPath;
    this.#policy = new Policy(options.rules);
    this.#audit = new AuditLog(options.audit, (failure) => {
      this.#failure = failure;
      this.#close();
    });
    this.#surroundings = {
      slug: options.slug,
      limits: { ...defaultLimits, ...options.limits },
      network: options.network ?? hostNetwork,
      buffers: new Buffers(),
      policy: () => this.#policy,
      flows: this.#flows,
      record: (record, refusal) => this.#record(record, refusal),
    };
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = this.#surroundings.limits.connections + refusedAtOnce;
    this.closed = new Promise((resolve) => {
      this.#server.on('close', () => {
        // The last lines are written by those who were cut.
        void Promise.all(this.#running).then(() => {
          this.#audit[Symbol.dispose]();
          resolve(this.#failure);
        });
      });
    });
  }

  /** Starts to listen. @throws GateSocketUnusable, AuditUnwritable */
  static async start(options: GateOptions): Promise<Gate> {
    const { socketPath, socketMode = 0o600 } = options;
    if (Buffer.byteLength(socketPath) > maxSocketPath) {
      throw new GateSocketUnusable({ path: socketPath, code: 'ENAMETOOLONG' });
    }
    const gate = new Gate(options);
    try {
      await gate.#listen();
      await chmod(socketPath, socketMode);
    } catch (error) {
      gate.#close();
      const { code = 'unknown' } = error as NodeJS.ErrnoException;
      throw new GateSocketUnusable({ path: socketPath, code }, { cause: error });
    }
    return gate;
  }

  get rules(): readonly Rule[] {
    return this.#policy.rules;
  }

  get counts(): GateCounts {
    return { connections: this.#sessions.size, ...this.#tally.counts };
  }

  /** Where the bottle went and where it did not get, at most so many hosts of each. Bytes of what is still open are not in it. */
  egress(hosts?: number): EgressSummary {
    return this.#tally.summary(hosts);
  }

  /**
   * Adds a rule made at run time, for every request from now on. It answers an earlier run-time rule for the same
   * pattern. What is under way and is not allowed any more is cut.
   */
  apply(rule: Rule): PolicyChange {
    this.#policy = this.#policy.with(rule);
    const account = new Account(this.#surroundings.slug);
    account.rule = rule;
    this.#audit.record(account.line('policy', rule.action));
    return { overruledBy: this.#overruling(rule), cut: this.#cutDenied() };
  }

  /** Writes a line about something that is not traffic, the seal check for one. */
  note(record: AuditRecord): void {
    this.#audit.record(record);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    await this.closed;
  }

  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.socketPath, () => {
        this.#server.off('error', reject);
        // Out of file descriptors for one: those who wait are served when some are free again.
        this.#server.on('error', () => undefined);
        resolve();
      });
    });
  }

  #accept(socket: Socket): void {
    const client = new Channel(socket);
    socket.once('close', () => this.#sessions.delete(socket));
    if (this.#sessions.size >= this.#surroundings.limits.connections && !this.#makeRoom()) {
      this.#sessions.set(socket, undefined);
      this.#run(this.#turnAway(client));
      return;
    }
    const session = new Session(client, this.#surroundings);
    this.#sessions.set(socket, session);
    this.#run(session.run());
  }

  #run(serving: Promise<void>): void {
    this.#running.add(serving);
    void serving.then(() => this.#running.delete(serving));
  }

  /** Closes the connection that has been idle since the longest ago. */
  #makeRoom(): boolean {
    for (const [socket, session] of this.#sessions) {
      if (session === undefined || session.idleMs < minIdleMs) continue;
      this.#sessions.delete(socket);
      socket.destroy();
      return true;
    }
    return false;
  }

  async #turnAway(client: Channel): Promise<void> {
    const { slug, limits } = this.#surroundings;
    const refusal = new Refusal({
      status: 503,
      reason: 'busy',
      detail: `there are ${limits.connections} connections already`,
    });
    const account = new Account(slug);
    account.refusedBy(refusal);
    this.#record(account.refusal());
    await client.push([renderRefusal(refusal, {}, slug, 'close')])?.catch(() => undefined);
    await linger(client, limits.lingerMs);
  }

  #record(record: AuditRecord, refusal?: Refusal): void {
    this.#tally.add(record, refusal === undefined ? undefined : remedy(refusal, this.#surroundings.slug));
    this.#audit.record(record);
  }

  #cutDenied(): number {
    let cut = 0;
    for (const flow of [...this.#flows]) {
      const verdict = this.#policy.decide(flow.ask);
      if (verdict.allowed) continue;
      const { detail, rule } = denial(flow.ask, verdict);
      flow.cut(
        new Refusal({
          status: 403,
          reason: 'denied-meanwhile',
          detail,
          host: flow.ask.host.text,
          port: flow.ask.port,
          ...(rule === undefined ? {} : { rule }),
        }),
      );
      cut += 1;
    }
    return cut;
  }

  #overruling(rule: Rule): Rule | undefined {
    if (rule.action === 'deny' || rule.host.kind !== 'exact') return undefined;
    const { name: text, isAddress } = rule.host;
    const port = rule.ports === 'any' ? 443 : (rule.ports.at(-1) ?? 443);
    const verdict = this.#policy.decide({ kind: 'tunnel', host: { text, isAddress }, port });
    return verdict.allowed ? undefined : verdict.rule;
  }

  #close(): void {
    this.#server.close();
    for (const socket of this.#sessions.keys()) socket.destroy();
  }
}

/** A rule in words, with where it stands: for lists and messages. */
export function describeRule(rule: Rule): string {
  return `${formatRule(rule)} (${formatOrigin(rule.origin)})`;
}
