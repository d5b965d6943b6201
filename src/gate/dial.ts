import { lookup } from 'node:dns/promises';
import { connect, type Socket } from 'node:net';
import { constants, networkInterfaces } from 'node:os';
import { type AddressKind, addressKind } from './address.ts';
import { ConnectionLost } from './channel.ts';
import type { Host } from './host.ts';
import { type Buffers, Inlet } from './inlet.ts';
import { Refusal } from './refusal.ts';

/** The host's network, as the gate sees it. */
export interface Network {
  /** All addresses of a name, in the order to try them. Rejects if there are none. */
  resolve(name: string): Promise<readonly string[]>;
  /** Begins to connect; what comes is read into the inlet. */
  connect(address: string, port: number, inlet: Inlet): Socket;
  /** The addresses of this host's interfaces. */
  ownAddresses(): readonly string[];
}

/** The real one. */
export const hostNetwork: Network = {
  async resolve(name) {
    return (await lookup(name, { all: true, order: 'verbatim' })).map(({ address }) => address);
  },
  connect(address, port, inlet) {
    return connect({
      host: address,
      port,
      onread: inlet,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      allowHalfOpen: true,
    });
  },
  ownAddresses() {
    return Object.values(networkInterfaces()).flatMap((list) => list?.map(({ address }) => address) ?? []);
  },
};

export interface DialOptions {
  readonly network: Network;
  readonly buffers: Buffers;
  readonly host: Host;
  readonly port: number;
  /** Kinds of addresses, beside public ones, that may be dialled. */
  readonly reach: 'all' | ReadonlySet<AddressKind>;
  /** For resolving and connecting together. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface Dialled {
  readonly socket: Socket;
  readonly inlet: Inlet;
  readonly address: string;
}

/** A slow first address gets this long before the next one is tried beside it (RFC 8305 §5). */
const attemptDelayMs = 250;
const maxAddresses = 8;

/**
 * Connects to a host: the name is resolved once, every answer is checked, and a checked address is what is dialled. So
 * a name that changes its mind between check and use gains nothing. One answer that may not be dialled refuses the name.
 * @throws Refusal, or the signal's reason
 */
export async function dial(options: DialOptions): Promise<Dialled> {
  const { host, port, signal, timeoutMs } = options;
  const where = { host: host.text, port };
  // By hand, since a combined signal costs a tenth of a new connection.
  const stop = new AbortController();
  const onAbort = () => stop.abort(signal.reason);
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  const late = new Error('too late');
  const timer = setTimeout(() => stop.abort(late), timeoutMs);
  try {
    const addresses = host.isAddress ? [host.text] : await resolve(options, stop.signal);
    check(options, addresses);
    return await race(options, interleave(addresses).slice(0, maxAddresses), stop.signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Refusal) throw error;
    if (stop.signal.reason === late) {
      throw new Refusal({
        ...where,
        status: 504,
        reason: 'upstream-slow',
        detail: 'it did not answer in time',
      });
    }
    if (isExhausted(error)) {
      const detail = 'this host has no descriptors or memory left for another connection';
      throw new Refusal({ ...where, status: 503, reason: 'busy', detail }, { cause: error });
    }
    throw new Refusal(
      {
        ...where,
        status: 502,
        reason: 'unreachable',
        detail: `it could not be connected to (${codeOf(error)})`,
      },
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

async function resolve({ network, host, port }: DialOptions, stop: AbortSignal): Promise<readonly string[]> {
  const where = { host: host.text, port };
  try {
    const addresses = await abortable(network.resolve(host.text), stop);
    if (addresses.length > 0) return addresses;
  } catch (error) {
    stop.throwIfAborted();
    const detail = `its name could not be resolved (${codeOf(error)})`;
    throw new Refusal({ ...where, status: 502, reason: 'unresolved', detail }, { cause: error });
  }
  throw new Refusal({ ...where, status: 502, reason: 'unresolved', detail: 'its name has no address' });
}

function check({ network, host, port, reach }: DialOptions, addresses: readonly string[]): void {
  if (reach === 'all') return;
  const own = network.ownAddresses();
  for (const address of addresses) {
    const kind = addressKind(address, own);
    if (kind === 'public' || reach.has(kind)) continue;
    throw new Refusal({
      status: 403,
      reason: 'address',
      detail: `the name leads to an address of the kind ${JSON.stringify(kind)}, and no rule for it says that it may`,
      host: host.text,
      port,
      allowWith: `--reach ${kind}`,
    });
  }
}

/** Families by turns, so that one broken family costs one delay (RFC 8305 §4). */
function interleave(addresses: readonly string[]): readonly string[] {
  if (addresses.length === 1) return addresses;
  const isV6 = (address: string) => address.includes(':');
  const [first] = addresses;
  const same = addresses.filter((address) => first !== undefined && isV6(address) === isV6(first));
  const other = addresses.filter((address) => !same.includes(address));
  return same.flatMap((address, i) => [address, ...other.slice(i, i + 1)]).concat(other.slice(same.length));
}

/** The first address that answers; all other attempts are dropped. */
function race(
  { network, buffers, port }: DialOptions,
  addresses: readonly string[],
  stop: AbortSignal,
): Promise<Dialled> {
  return new Promise((resolve, reject) => {
    const open = new Set<Socket>();
    let next = 0;
    let timer: NodeJS.Timeout | undefined;
    let isSettled = false;
    const settle = (winner?: Socket) => {
      isSettled = true;
      clearTimeout(timer);
      stop.removeEventListener('abort', onStop);
      for (const socket of open) if (socket !== winner) socket.destroy();
      open.clear();
    };
    const onStop = () => {
      settle();
      reject(stop.reason);
    };
    const attempt = () => {
      clearTimeout(timer);
      const address = addresses[next];
      if (address === undefined) return;
      next += 1;
      const inlet = new Inlet(buffers.take());
      const socket = network.connect(address, port, inlet);
      open.add(socket);
      socket.once('close', () => {
        if (!inlet.isLent) buffers.giveBack(inlet.buffer);
      });
      const onError = (error: Error) => {
        open.delete(socket);
        if (isSettled) return;
        if (next < addresses.length) attempt();
        else if (open.size === 0) {
          settle();
          reject(error);
        }
      };
      socket.once('error', onError);
      socket.once('connect', () => {
        if (isSettled) return;
        settle(socket);
        socket.off('error', onError);
        // The channel that takes it over listens from the next turn on.
        socket.on('error', () => undefined);
        resolve({ socket, inlet, address });
      });
      timer = setTimeout(attempt, attemptDelayMs);
    };
    if (stop.aborted) return onStop();
    stop.addEventListener('abort', onStop);
    attempt();
  });
}

function abortable<T>(promise: Promise<T>, stop: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onStop = () => reject(stop.reason);
    if (stop.aborted) return onStop();
    stop.addEventListener('abort', onStop, { once: true });
    void promise.then(resolve, reject).finally(() => stop.removeEventListener('abort', onStop));
  });
}

const { EMFILE, ENFILE, ENOBUFS, ENOMEM } = constants.errno;

/** Not the fault of who is dialled. By number: of `networkInterfaces` libuv gives it with the wrong sign, and no name. */
function isExhausted(error: unknown): boolean {
  const errno = error instanceof Error && 'errno' in error ? error.errno : undefined;
  return typeof errno === 'number' && [EMFILE, ENFILE, ENOBUFS, ENOMEM].includes(Math.abs(errno));
}

function codeOf(error: unknown): string {
  if (error instanceof ConnectionLost) return 'lost';
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^[A-Z0-9_]{1,40}$/.test(code) ? code : 'unknown';
}
