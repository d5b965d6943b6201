import { Channel, ConnectionLost, TooSlow } from './channel.ts';
import { dial } from './dial.ts';
import { isRepeatable, ResponseCut, runExchange, StaleConnection } from './exchange.ts';
import { Account, type Flow, type Surroundings } from './flow.ts';
import { formatAuthority } from './host.ts';
import { requestFraming } from './http/body.ts';
import { endToEnd, parseRequestHead, type RequestHead } from './http/head.ts';
import { parseTarget, type Target } from './http/target.ts';
import type { Ask, Policy, Verdict } from './policy.ts';
import { malformed, Refusal, renderRefusal } from './refusal.ts';
import { linger, readHead } from './relay.ts';
import { answerOwnName, ownName } from './own-name.ts';
import { runTunnel } from './tunnel.ts';

type Allowed = Extract<Verdict, { allowed: true }>;

/** A connection to a host that the next request for it may use. */
interface Kept {
  readonly channel: Channel;
  readonly authority: string;
  readonly address: string;
  /** What it was dialled under. */
  readonly policy: Policy;
  readonly since: number;
}

/** A host closes idle connections when it likes; a request that cannot be repeated only follows this closely. */
const freshMs = 1000;

/** One connection from the bottle, from its first request to its last. */
export class Session {
  readonly #client: Channel;
  readonly #gate: Surroundings;
  #kept: Kept | undefined;
  #idleSince: number | undefined = performance.now();

  constructor(client: Channel, gate: Surroundings) {
    this.#client = client;
    this.#gate = gate;
  }

  /** For how long it has been waiting for a whole head, in milliseconds; 0 while it serves a request. */
  get idleMs(): number {
    return this.#idleSince === undefined ? 0 : performance.now() - this.#idleSince;
  }

  /** Serves requests, one after the other, until one side has enough. Never rejects. */
  async run(): Promise<void> {
    try {
      while (await this.#next());
      await linger(this.#client, this.#gate.limits.lingerMs);
    } catch {
      // The client is gone or went silent between requests, or a response had to be cut.
      this.#client.destroy();
    } finally {
      this.#drop();
    }
  }

  /** Takes one request. Whether another one may follow. */
  async #next(): Promise<boolean> {
    const { limits, slug } = this.#gate;
    this.#idleSince = performance.now();
    let account = new Account(slug);
    let head: RequestHead | undefined;
    try {
      const bytes = await this.#readHead(limits.idleMs, limits.headMs);
      if (bytes === undefined) return false;
      this.#idleSince = undefined;
      account = new Account(slug);
      head = parseRequestHead(bytes);
      account.method = head.method;
      const target = parseTarget(head);
      account.host = target.host.text;
      account.port = target.port;
      if (target.kind === 'tunnel') return await this.#tunnel(head, target, account);
      account.path = target.path;
      return await this.#exchange(head, target, account);
    } catch (error) {
      if (error instanceof ResponseCut) {
        account.reason = error.refusal.reason;
        this.#gate.record(account.line('request', error.refusal.status === 403 ? 'deny' : 'fail'));
        throw error;
      }
      if (!(error instanceof Refusal)) {
        if (head !== undefined) {
          account.reason = 'client-gone';
          this.#gate.record(account.line('request', account.rule?.action === 'allow' ? 'allow' : 'deny'));
        }
        throw error;
      }
      return await this.#refuse(error, head, account);
    }
  }

  async #readHead(idleMs: number, headMs: number): Promise<Buffer | undefined> {
    const { bytesIn } = this.#client;
    try {
      return await readHead(this.#client, idleMs, headMs);
    } catch (error) {
      // Without a byte of a request there is nobody to answer.
      if (!(error instanceof TooSlow) || this.#client.bytesIn === bytesIn) throw error;
      throw new Refusal({
        status: 408,
        reason: 'too-slow',
        detail: 'the head of the request stopped coming',
      });
    }
  }

  async #refuse(refusal: Refusal, head: RequestHead | undefined, account: Account): Promise<boolean> {
    account.refusedBy(refusal);
    this.#gate.record(account.refusal(), refusal);
    const goesOn =
      head?.minor === 1 &&
      head.method !== 'CONNECT' &&
      (refusal.status === 403 || refusal.status >= 500) &&
      !hasBody(head) &&
      !head.fields.tokens('connection').includes('close');
    const subject = {
      ...(head === undefined ? {} : { method: head.method }),
      ...(account.path === undefined ? {} : { path: account.path }),
    };
    const answer = renderRefusal(refusal, subject, this.#gate.slug, goesOn ? 'keep-alive' : 'close');
    await this.#client.push([answer]);
    return goesOn;
  }

  /** @throws Refusal */
  #decide(ask: Ask): Allowed {
    const verdict = this.#gate.policy().decide(ask);
    if (verdict.allowed) return verdict;
    throw denial(ask, verdict);
  }

  async #tunnel(
    head: RequestHead,
    target: Extract<Target, { kind: 'tunnel' }>,
    account: Account,
  ): Promise<boolean> {
    const { limits, record } = this.#gate;
    if (hasBody(head)) throw malformed('a CONNECT has no body');
    const verdict = this.#decide(target);
    account.rule = verdict.rule;
    using flow = this.#flow(target);
    const { socket, inlet, address } = await this.#dial(target, verdict, flow);
    const upstream = new Channel(socket, inlet);
    flow.guards(upstream);
    account.address = address;
    account.status = 200;
    record(account.line('open', 'allow'));
    await this.#client.push([Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n')]);
    const before = { in: this.#client.bytesOut, out: upstream.bytesOut };
    const cut = await runTunnel({ client: this.#client, upstream, limits, asked: target });
    account.in = this.#client.bytesOut - before.in;
    account.out = upstream.bytesOut - before.out;
    const refusal = flow.refusal ?? cut;
    if (refusal !== undefined) account.reason = refusal.reason;
    record(account.line('close', refusal === undefined ? 'allow' : 'deny'));
    return false;
  }

  async #exchange(
    head: RequestHead,
    target: Extract<Target, { kind: 'http' }>,
    account: Account,
  ): Promise<boolean> {
    // What is malformed is refused before anything is asked of anybody.
    requestFraming(head);
    endToEnd(head.fields);
    if (target.host.text === ownName) {
      return await answerOwnName({ client: this.#client, head, target, gate: this.#gate, account });
    }
    const ask: Ask = { ...target, method: head.method };
    const verdict = this.#decide(ask);
    account.rule = verdict.rule;
    using flow = this.#flow(ask);
    for (let isRetry = false; ; isRetry = true) {
      const reused = isRetry ? undefined : this.#reuse(target, head);
      const kept = reused ?? (await this.#connect(target, verdict, flow));
      flow.guards(kept.channel);
      account.address = kept.address;
      try {
        const end = await runExchange({
          client: this.#client,
          upstream: kept.channel,
          head,
          target,
          gate: this.#gate,
          account,
          isReused: reused !== undefined,
        });
        if (flow.refusal !== undefined) account.reason = flow.refusal.reason;
        this.#gate.record(
          account.line(account.status === 101 ? 'close' : 'request', flow.refusal ? 'deny' : 'allow'),
        );
        if (end.upstream) this.#keep(kept);
        else if (account.status !== 101) kept.channel.destroy();
        return end.client;
      } catch (error) {
        if (error instanceof StaleConnection) continue;
        if (error instanceof ResponseCut && flow.refusal !== undefined) throw new ResponseCut(flow.refusal);
        throw (error instanceof Refusal ? flow.refusal : undefined) ?? error;
      }
    }
  }

  async #connect(target: Target, verdict: Allowed, flow: OpenFlow): Promise<Kept> {
    this.#drop();
    const policy = this.#gate.policy();
    const { socket, inlet, address } = await this.#dial(target, verdict, flow);
    const authority = formatAuthority(target.host.text, target.port);
    return { channel: new Channel(socket, inlet), authority, address, policy, since: performance.now() };
  }

  async #dial({ host, port }: Target, verdict: Allowed, flow: OpenFlow) {
    this.#client.whenLost(() => flow.abandon());
    try {
      return await dial({
        network: this.#gate.network,
        buffers: this.#gate.buffers,
        host,
        port,
        reach: verdict.reach,
        timeoutMs: this.#gate.limits.dialMs,
        signal: flow.signal,
      });
    } finally {
      this.#client.whenLost(undefined);
    }
  }

  /** Only this client's own connection, only to the same host and port, and only under the policy it was dialled under. */
  #reuse(target: Target, head: RequestHead): Kept | undefined {
    const kept = this.#kept;
    this.#kept = undefined;
    if (kept === undefined) return undefined;
    kept.channel.whenLost(undefined);
    kept.channel.whenEnded(undefined);
    const isSame =
      kept.authority === formatAuthority(target.host.text, target.port) &&
      kept.policy === this.#gate.policy();
    const isOpen = !kept.channel.lost && !kept.channel.ended && !kept.channel.hasMore;
    const isFresh = isRepeatable(head) || performance.now() - kept.since < freshMs;
    if (isSame && isOpen && isFresh) return kept;
    kept.channel.destroy();
    return undefined;
  }

  #keep(kept: Kept): void {
    // A host that says more than its answer may not have the last word about the next one.
    if (kept.channel.hasMore) return kept.channel.destroy();
    this.#kept = { ...kept, since: performance.now() };
    kept.channel.whenEnded(() => this.#drop());
  }

  #drop(): void {
    this.#kept?.channel.destroy();
    this.#kept = undefined;
  }

  #flow(ask: Ask): OpenFlow {
    return new OpenFlow(ask, this.#gate.flows);
  }
}

/** A request or tunnel under way, known to the gate as long as it lasts. */
class OpenFlow implements Flow, Disposable {
  readonly ask: Ask;
  refusal: Refusal | undefined;
  readonly #flows: Set<Flow>;
  readonly #cut = new AbortController();
  #upstream: Channel | undefined;

  constructor(ask: Ask, flows: Set<Flow>) {
    this.ask = ask;
    this.#flows = flows;
    flows.add(this);
  }

  get signal(): AbortSignal {
    return this.#cut.signal;
  }

  guards(upstream: Channel): void {
    this.#upstream = upstream;
    if (this.refusal !== undefined) upstream.destroy();
  }

  cut(refusal: Refusal): void {
    this.refusal = refusal;
    this.#cut.abort(refusal);
    this.#upstream?.destroy();
  }

  /** Nobody is there any more to have it. */
  abandon(): void {
    this.#cut.abort(new ConnectionLost());
  }

  [Symbol.dispose](): void {
    this.#flows.delete(this);
  }
}

/** The refusal that a verdict of the policy comes to. */
export function denial(ask: Ask, verdict: Extract<Verdict, { allowed: false }>): Refusal {
  const where = { host: ask.host.text, port: ask.port };
  if (verdict.rule !== undefined) {
    return new Refusal({
      ...where,
      status: 403,
      reason: 'denied',
      detail: 'a rule denies it',
      rule: verdict.rule,
    });
  }
  const what =
    verdict.narrower === undefined
      ? 'no rule allows it'
      : ask.kind === 'tunnel'
        ? 'the rules for this host are about methods and paths, which a tunnel hides'
        : 'no rule for this host allows this method and path';
  return new Refusal({ ...where, status: 403, reason: 'no-rule', detail: what });
}

function hasBody(head: RequestHead): boolean {
  try {
    const framing = requestFraming(head);
    return framing.kind !== 'none' && !(framing.kind === 'length' && framing.length === 0);
  } catch {
    return true;
  }
}
