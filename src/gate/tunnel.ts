import { type Channel, TooSlow } from './channel.ts';
import { accessDeniedAlert, type Greeting, readGreeting } from './client-hello.ts';
import { type Host, parseHost } from './host.ts';
import type { Limits } from './limits.ts';
import { Refusal } from './refusal.ts';

export interface Tunnel {
  readonly client: Channel;
  readonly upstream: Channel;
  readonly limits: Limits;
  /** Whom the tunnel was asked for; `undefined` if what goes through was agreed on before (WebSocket). */
  readonly asked: { readonly host: Host; readonly port: number } | undefined;
}

/**
 * Passes bytes both ways until both sides have ended, each half on its own. TLS may only greet the host that was asked
 * for, and on port 443 nothing but TLS goes through.
 * @returns the refusal that cut it, if one did. Errors of either side end both, quietly.
 */
export async function runTunnel({ client, upstream, limits, asked }: Tunnel): Promise<Refusal | undefined> {
  let isHalf = false;
  let refusal: Refusal | undefined;
  const halfEnded = (other: Channel) => {
    if (!isHalf) other.hurry(limits.halfClosedMs);
    isHalf = true;
  };
  const copy = async (from: Channel, to: Channel) => {
    await from.pour(to, { timeoutMs: () => (isHalf ? limits.halfClosedMs : 0) });
    to.end();
    halfEnded(to);
  };
  const up = async () => {
    if (asked !== undefined) await greet(client, upstream, asked, limits.greetingMs);
    await copy(client, upstream);
  };
  const cut = (error: unknown) => {
    if (refusal !== undefined) return;
    if (error instanceof Refusal) {
      refusal = error;
      if (error.reason === 'tls-name') void client.push([accessDeniedAlert])?.catch(() => undefined);
      client.end();
      // What it still sends finds nobody; the alert gets its chance to be read.
      setTimeout(() => client.destroy(), limits.lingerMs).unref();
    } else client.destroy();
    upstream.destroy();
  };
  // A copy that waits for one side does not see that the other is gone.
  client.whenLost(() => upstream.destroy());
  upstream.whenLost(() => void client.flushed().then(() => client.destroy()));
  await Promise.all([up().catch(cut), copy(upstream, client).catch(cut)]);
  client.whenLost(undefined);
  upstream.whenLost(undefined);
  return refusal;
}

/** Lets the first bytes through once they are known to be what they may be. @throws Refusal */
async function greet(
  client: Channel,
  upstream: Channel,
  asked: { readonly host: Host; readonly port: number },
  greetingMs: number,
): Promise<void> {
  const mustBeTls = asked.port === 443;
  let bytes: Buffer = Buffer.alloc(0);
  let greeting: Greeting = { kind: 'more' };
  const deadline = performance.now() + greetingMs;
  while (greeting.kind === 'more') {
    // Where it need not be TLS, the host may be the one who speaks first, whenever it likes.
    const isOpen = bytes.length === 0 && !mustBeTls;
    const more = await client
      .pull(isOpen ? 0 : Math.max(1, deadline - performance.now()))
      .catch((error: unknown) => {
        throw error instanceof TooSlow
          ? refuse(asked, 'not-tls', 'the tunnel did not begin with TLS in time')
          : error;
      });
    if (more === undefined) {
      if (bytes.length === 0) return;
      throw refuse(asked, 'not-tls', 'the tunnel ended within its first TLS message');
    }
    bytes = bytes.length === 0 ? more : Buffer.concat([bytes, more]);
    greeting = readGreeting(bytes);
  }
  judge(greeting, asked, mustBeTls);
  await upstream.push([bytes]);
}

function judge(
  greeting: Greeting,
  asked: { readonly host: Host; readonly port: number },
  mustBeTls: boolean,
): void {
  switch (greeting.kind) {
    case 'other':
      if (mustBeTls) throw refuse(asked, 'not-tls', 'a tunnel to port 443 carries TLS and nothing else');
      return;
    case 'more':
    case 'broken-tls':
      throw refuse(asked, 'not-tls', 'the first TLS message of the tunnel cannot be read');
    case 'tls': {
      const [name, second] = greeting.names;
      // A name other than the one that was checked may be served by the same address: domain fronting.
      const isRight = asked.host.isAddress
        ? name === undefined
        : second === undefined && name !== undefined && parseHost(name)?.text === asked.host.text;
      if (!isRight) {
        const what = name === undefined ? 'names no host' : 'names another host than the tunnel';
        throw refuse(asked, 'tls-name', `the TLS greeting ${what}`);
      }
    }
  }
}

function refuse(
  { host, port }: { readonly host: Host; readonly port: number },
  reason: 'tls-name' | 'not-tls',
  detail: string,
) {
  return new Refusal({ status: 403, reason, detail, host: host.text, port });
}
