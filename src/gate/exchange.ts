import { type Channel, ConnectionLost, ReceiverGone, TooSlow } from './channel.ts';
import type { Account, Surroundings } from './flow.ts';
import { formatAuthority } from './host.ts';
import { bodyDecoder, type Framing, requestFraming, responseFraming } from './http/body.ts';
import {
  endToEnd,
  type Field,
  formatHead,
  parseResponseHead,
  type RequestHead,
  type ResponseHead,
} from './http/head.ts';
import type { Target } from './http/target.ts';
import { Refusal, type Reason } from './refusal.ts';
import { readHead, relayBody } from './relay.ts';
import { runTunnel } from './tunnel.ts';
import { acceptsWebSocket, upgradeFields, webSocketAsk, type WebSocketAsk } from './upgrade.ts';

export interface ExchangeOptions {
  readonly client: Channel;
  readonly upstream: Channel;
  readonly head: RequestHead;
  readonly target: Extract<Target, { kind: 'http' }>;
  readonly gate: Surroundings;
  readonly account: Account;
  /** The connection to the host was used before, so it may have closed in the meantime. */
  readonly isReused: boolean;
}

/** How an exchange ended. `client`: its connection can take another request. `upstream`: so can the host's. */
export interface ExchangeEnd {
  readonly client: boolean;
  readonly upstream: boolean;
  /** The request body was not taken in whole: some of it may still come. */
  readonly isUnread: boolean;
}

/** A reused connection had closed before anything came back: the request may be sent again on a new one. */
export class StaleConnection extends Error {}

/** A response began and cannot be finished; all that is left is to let the client see that it is cut. */
export class ResponseCut extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super();
    this.refusal = refusal;
  }
}

/** So many interim responses before the final one, no more. */
const maxInterim = 32;

/**
 * Passes one request on to its host and the answer back, both as they come. Framing is made anew on both sides, so that
 * what one side reads is what the other side sent.
 * @throws Refusal if nothing has been answered yet; ResponseCut; StaleConnection; ConnectionLost of the client
 */
export async function runExchange(options: ExchangeOptions): Promise<ExchangeEnd> {
  const { client, upstream, head, gate } = options;
  client.whenLost(() => upstream.destroy());
  client.whenEnded(() => upstream.hurry(gate.limits.halfClosedMs));
  try {
    return await exchange(options);
  } catch (error) {
    upstream.destroy();
    if (client.lost) throw new ConnectionLost();
    if (options.isReused && error instanceof Lost && isRepeatable(head)) throw new StaleConnection();
    throw error instanceof Lost ? error.refusal : error;
  } finally {
    client.whenLost(undefined);
    client.whenEnded(undefined);
  }
}

/** The host hung up before its first byte. */
class Lost extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super();
    this.refusal = refusal;
  }
}

/** RFC 9110 §9.2.2: sent twice is as good as once. Only without a body, since that is gone. */
export function isRepeatable(head: RequestHead): boolean {
  const isSafe = ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'].includes(head.method);
  const framing = requestFraming(head);
  return isSafe && (framing.kind === 'none' || (framing.kind === 'length' && framing.length === 0));
}

/** How far the request's body has got; a refusal if the client got it wrong. */
interface Upload {
  state: 'under way' | 'whole' | 'stopped' | Refusal;
}

async function exchange(options: ExchangeOptions): Promise<ExchangeEnd> {
  const { client, upstream, head, target, gate, account } = options;
  const framing = requestFraming(head);
  const webSocket = framing.kind === 'none' ? webSocketAsk(head) : undefined;
  await upstream
    .push([Buffer.from(requestText(head, target, framing, webSocket), 'latin1')])
    ?.catch(() => undefined);

  const sent: Upload = { state: framing.kind === 'none' ? 'whole' : 'under way' };
  const upload = relayBody({
    from: client,
    decoder: bodyDecoder(framing, 'request'),
    to: upstream,
    chunked: framing.kind === 'chunked',
    timeoutMs: () => gate.limits.bodyMs,
    onBytes: (n) => (account.out += n),
  }).then(
    () => {
      sent.state = 'whole';
    },
    (error: unknown) => {
      sent.state = uploadEnd(error, target);
      // The host may have an answer for a client that it stopped listening to. In all other cases it must not take
      // the part that came for the whole.
      if (!(error instanceof ReceiverGone)) upstream.destroy();
    },
  );

  try {
    const answer = await readAnswer(options, webSocket);
    if (answer.status === 101) return await webSocketTunnel(options);
    const body = responseFraming(answer, head.method);
    const isLast =
      head.minor === 0 || head.fields.tokens('connection').includes('close') || sent.state !== 'whole';
    const chunked = head.minor === 1 && (body.kind === 'chunked' || body.kind === 'close');
    const untilClose = !chunked && (body.kind === 'chunked' || body.kind === 'close');
    account.status = answer.status;
    const text = responseText(answer, chunked, isLast || untilClose);
    await sendBody(options, body, chunked, text);
    const isUnread = sent.state !== 'whole';
    return {
      client: !isLast && !untilClose && !isUnread,
      upstream:
        !isUnread &&
        body.kind !== 'close' &&
        answer.minor === 1 &&
        !answer.fields.tokens('connection').includes('close'),
      isUnread,
    };
  } catch (error) {
    upstream.destroy();
    const { state } = sent;
    if (state instanceof Refusal && !(error instanceof ResponseCut)) {
      await upload;
      throw state;
    }
    throw error;
  }
}

function uploadEnd(
  error: unknown,
  { host, port }: { host: { text: string }; port: number },
): Refusal | 'stopped' {
  if (error instanceof Refusal) return error;
  if (!(error instanceof TooSlow)) return 'stopped';
  const detail = 'the request body stopped coming';
  return new Refusal({ status: 408, reason: 'too-slow', detail, host: host.text, port });
}

/** Reads heads until the final one, and passes the interim ones on. */
async function readAnswer(
  options: ExchangeOptions,
  webSocket: WebSocketAsk | undefined,
): Promise<ResponseHead> {
  const { client, upstream, head, gate, target } = options;
  for (let interim = 0; interim < maxInterim; interim += 1) {
    const patience = client.ended ? gate.limits.halfClosedMs : gate.limits.responseMs;
    const answer = await readHead(upstream, patience, gate.limits.responseMs)
      .then((bytes) => {
        if (bytes === undefined) throw new ConnectionLost();
        const answer = parseResponseHead(bytes);
        // Both throw on what has two readings, so this is the place to find out.
        responseFraming(answer, head.method);
        endToEnd(answer.fields);
        return answer;
      })
      .catch((error: unknown) => {
        const refusal = upstreamRefusal(error, target);
        throw refusal.reason === 'upstream-lost' && interim === 0 ? new Lost(refusal) : refusal;
      });
    if (answer.status === 101) {
      if (webSocket !== undefined && acceptsWebSocket(webSocket, answer)) {
        const fields = [...endToEnd(answer.fields), ...upgradeFields];
        await client.push([Buffer.from(formatHead(`HTTP/1.1 101 ${answer.phrase}`, fields), 'latin1')]);
        return answer;
      }
      throw bad(target, 'it switched protocols without being asked');
    }
    if (answer.status >= 200) return answer;
    if (head.minor === 1) {
      const fields = withoutLength(endToEnd(answer.fields));
      await client.push([
        Buffer.from(formatHead(`HTTP/1.1 ${answer.status} ${answer.phrase}`, fields), 'latin1'),
      ]);
    }
  }
  throw bad(target, 'it sent too many interim responses');
}

async function sendBody(
  options: ExchangeOptions,
  body: Framing,
  chunked: boolean,
  text: string,
): Promise<void> {
  const { client, upstream, gate, target, account } = options;
  client.socket.cork();
  // Head and first bytes leave together if the bytes are there already.
  process.nextTick(() => client.socket.uncork());
  const sent = client.push([Buffer.from(text, 'latin1')]);
  try {
    await sent;
    await relayBody({
      from: upstream,
      decoder: bodyDecoder(body, 'response'),
      to: client,
      chunked,
      timeoutMs: () => (client.ended ? gate.limits.halfClosedMs : gate.limits.responseMs),
      onBytes: (n) => (account.in += n),
    });
  } catch (error) {
    if (error instanceof ReceiverGone || client.lost) throw new ConnectionLost();
    throw new ResponseCut(upstreamRefusal(error, target));
  }
}

async function webSocketTunnel({ client, upstream, gate, account }: ExchangeOptions): Promise<ExchangeEnd> {
  account.status = 101;
  gate.record(account.line('open', 'allow'));
  const before = { in: upstream.bytesIn, out: client.bytesIn };
  client.whenEnded(undefined);
  await runTunnel({ client, upstream, limits: gate.limits, asked: undefined });
  account.in = upstream.bytesIn - before.in;
  account.out = client.bytesIn - before.out;
  return { client: false, upstream: false, isUnread: false };
}

function requestText(
  head: RequestHead,
  { host, port, origin }: ExchangeOptions['target'],
  framing: Framing,
  webSocket: WebSocketAsk | undefined,
): string {
  const fields: Field[] = [
    ['Host', formatAuthority(host.text, port, 80)],
    ...endToEnd(head.fields).filter(([name]) => name.toLowerCase() !== 'host'),
  ];
  if (framing.kind === 'chunked') fields.push(['Transfer-Encoding', 'chunked']);
  if (webSocket !== undefined) fields.push(...upgradeFields);
  return formatHead(`${head.method} ${origin} HTTP/1.1`, fields);
}

function responseText(answer: ResponseHead, chunked: boolean, isLast: boolean): string {
  const kept = endToEnd(answer.fields);
  const fields = answer.status === 204 || chunked ? withoutLength(kept) : kept;
  if (chunked) fields.push(['Transfer-Encoding', 'chunked']);
  if (isLast) fields.push(['Connection', 'close']);
  return formatHead(`HTTP/1.1 ${answer.status} ${answer.phrase}`, fields);
}

function withoutLength(fields: readonly Field[]): Field[] {
  return fields.filter(([name]) => name.toLowerCase() !== 'content-length');
}

function bad({ host, port }: ExchangeOptions['target'], detail: string): Refusal {
  return new Refusal({ status: 502, reason: 'upstream-malformed', detail, host: host.text, port });
}

/** What the host did wrong, as an answer. */
function upstreamRefusal(error: unknown, target: ExchangeOptions['target']): Refusal {
  const { host, port } = target;
  const facts = (status: number, reason: Reason, detail: string) =>
    new Refusal({ status, reason, detail, host: host.text, port }, { cause: error });
  if (error instanceof Refusal) {
    return facts(502, 'upstream-malformed', `its answer is not valid HTTP: ${error.detail}`);
  }
  if (error instanceof TooSlow) return facts(504, 'upstream-slow', 'it did not answer in time');
  return facts(502, 'upstream-lost', 'it closed the connection before its answer was whole');
}
