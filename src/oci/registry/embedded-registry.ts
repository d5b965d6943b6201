import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { FlatImage } from '../image.ts';
import type { LayerStore } from '../layer-store.ts';
import { type Credential, newCredential, parseBasic, sameCredential } from './credential.ts';
import { type Exchange, sendBytes, sendRefusal } from './exchange.ts';
import { LoopbackProbe, type Probe } from './probe.ts';
import { malformedDigest, PublishedImage, unknownBlob, unknownManifest } from './published-image.ts';
import { PushReceiver, type Receiver } from './receiver.ts';
import { methodNotAllowed, Refusal } from './refusal.ts';
import { looksLikeDigest, parseRoute, parseTarget, type Route, type Target } from './route.ts';

// An `import` of it reads every export, and the one called WebSocket loads an HTTP client: 45 ms and 5 MB.
const { createServer } = process.getBuiltinModule('node:http');

export interface RegistryName {
  /** As distribution-spec allows it; `claude-bottle` by custom. */
  readonly repository: string;
  readonly tag: string;
}

export interface ReceiveOptions {
  readonly store: LayerStore;
  /** A directory on the store's file system, for layers on their way in. */
  readonly scratch: string;
  /** Told the number of bytes as they arrive. */
  readonly onBytes?: (n: number) => void;
}

/** Connections beyond these are refused, so that a stray neighbour cannot use up our file descriptors. */
const maxConnections = 512;
const keepAliveMs = 60_000;
const headersMs = 30_000;

const repositoryPattern =
  /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** What is known of one connection. */
interface Connection {
  readonly gone: AbortSignal;
  /** Requests that a client sends ahead are answered one by one, so each connection costs one read buffer. */
  last: Promise<void>;
}

/**
 * A registry in this process, on 127.0.0.1 and a free port, with one repository and one tag (distribution-spec 1.1).
 * It shows the published image to whoever has the `reader` credential; it takes a push only while a receiver is open.
 * Every other host name, path or credential is refused. Disposing ends every transfer and frees the port.
 */
export class EmbeddedRegistry implements AsyncDisposable {
  readonly port: number;
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** `127.0.0.1:PORT/repository:tag` */
  readonly reference: string;
  /** Reads the published image, and nothing else. */
  readonly reader: Credential = newCredential('claude-bottle');
  readonly #server: Server;
  readonly #name: RegistryName;
  readonly #connections = new Map<Socket, Connection>();
  /** Answers under way; one may outlive its connection while it tidies up. */
  readonly #answers = new Set<Promise<void>>();
  readonly #probes = new Set<LoopbackProbe>();
  readonly #hosts: ReadonlySet<string>;
  #published: PublishedImage | undefined;
  #receiver: PushReceiver | undefined;
  #failure: unknown;

  private constructor(server: Server, port: number, name: RegistryName) {
    this.#server = server;
    this.#name = name;
    this.port = port;
    this.host = `127.0.0.1:${port}`;
    this.reference = `${this.host}/${name.repository}:${name.tag}`;
    this.#hosts = new Set([this.host, `localhost:${port}`, `[::1]:${port}`]);
  }

  /** Starts one that has nothing to show yet. */
  static async start(name: RegistryName): Promise<EmbeddedRegistry> {
    if (!repositoryPattern.test(name.repository) || !tagPattern.test(name.tag)) {
      throw new TypeError(`not a repository and tag: ${name.repository}:${name.tag}`);
    }
    const server = createServer({
      // A push may take as long as it takes; only a client that never finishes its headers is cut off.
      requestTimeout: 0,
      headersTimeout: headersMs,
      keepAliveTimeout: keepAliveMs,
    });
    server.maxConnections = maxConnections;
    server.listen({ host: '127.0.0.1', port: 0 });
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new TypeError('the registry has no port');
    const registry = new EmbeddedRegistry(server, address.port, name);
    server.on('connection', (socket) => registry.#onConnection(socket));
    server.on('request', (request, response) => registry.#onRequest(request, response));
    return registry;
  }

  /**
   * Shows an image from now on, in place of an earlier one. The image stays the caller's, who disposes of it after this
   * registry. `onBytes` is told the number of blob bytes as they leave.
   */
  publish(image: FlatImage, options: { onBytes?: (n: number) => void } = {}): void {
    this.#published = new PublishedImage(image, this.#name.tag, options.onBytes);
  }

  /** Accepts a push until the receiver is disposed of. One at a time. */
  receive(options: ReceiveOptions): Receiver {
    if (this.#receiver !== undefined) throw new Error('another push is being received');
    const receiver = new PushReceiver({
      ...this.#name,
      reference: this.reference,
      store: options.store,
      scratch: options.scratch,
      onBytes: options.onBytes,
      onClose: () => {
        if (this.#receiver === receiver) this.#receiver = undefined;
      },
    });
    this.#receiver = receiver;
    return receiver;
  }

  /** What went wrong on our side first, a layer that could not be read for one. The client saw a broken transfer. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Prepares a question to an engine's daemon: does it reach us? */
  probe(): Probe {
    const probe = new LoopbackProbe((done) => this.#probes.delete(done));
    this.#probes.add(probe);
    return probe;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#server.listening ? once(this.#server, 'close') : undefined;
    this.#server.close();
    this.#server.closeAllConnections();
    await this.#receiver?.[Symbol.asyncDispose]();
    await Promise.all(this.#answers);
    await closed;
  }

  #onConnection(socket: Socket): void {
    const gone = new AbortController();
    this.#connections.set(socket, { gone: gone.signal, last: Promise.resolve() });
    socket.once('close', () => {
      gone.abort();
      this.#connections.delete(socket);
    });
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connections.get(request.socket);
    if (connection === undefined) return;
    const answer = connection.last.then(() => this.#serve(request, response, connection.gone));
    connection.last = answer;
    this.#answers.add(answer);
    void answer.then(() => this.#answers.delete(answer));
  }

  /** Never rejects. */
  async #serve(request: IncomingMessage, response: ServerResponse, gone: AbortSignal): Promise<void> {
    if (gone.aborted) return;
    const exchange = { request, response, query: new URLSearchParams(), gone };
    response.setHeader('Docker-Distribution-Api-Version', 'registry/2.0');
    try {
      this.#checkHost(request);
      const target = parseTarget(request.url ?? '');
      await this.#answer({ ...exchange, query: target.query }, target);
    } catch (error) {
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it changes while we wait
      if (!(error instanceof Refusal) && !gone.aborted) this.#failure ??= error;
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it changes while we wait
      if (response.headersSent || gone.aborted) response.destroy();
      else sendRefusal(exchange, asRefusal(error));
    }
  }

  /** A browser that a rebound name led here says so in `Host` (DNS rebinding). */
  #checkHost(request: IncomingMessage): void {
    const hosts = request.headersDistinct.host ?? [];
    if (hosts.length !== 1 || !this.#hosts.has(hosts[0]?.toLowerCase() ?? '')) {
      throw new Refusal(421, 'DENIED', 'this registry does not answer to that host name');
    }
  }

  async #answer(exchange: Exchange, { path }: Target): Promise<void> {
    const credential = parseBasic(exchange.request.headers.authorization);
    let isProbe = false;
    for (const probe of this.#probes) isProbe = probe.see(path, credential) || isProbe;

    const isReader = credential !== undefined && sameCredential(credential, this.reader);
    const receiver = this.#receiver;
    const isWriter =
      credential !== undefined && receiver !== undefined && sameCredential(credential, receiver.writer);
    if (!isReader && !isWriter && !isProbe) {
      throw new Refusal(401, 'UNAUTHORIZED', 'authentication required', {
        'WWW-Authenticate': 'Basic realm="claude-bottle"',
      });
    }
    const route = parseRoute(path);
    if (route === undefined) throw new Refusal(404, 'UNSUPPORTED', 'no such endpoint');
    if (route.kind === 'base') {
      requireRead(exchange);
      return sendJson(exchange, 'application/json', {});
    }
    if (isProbe || route.repository !== this.#name.repository) {
      throw new Refusal(404, 'NAME_UNKNOWN', 'repository name not known to registry');
    }
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it changes while we wait
    if (isWriter && receiver !== undefined) return receiver.answer(exchange, route);
    await this.#read(exchange, route);
  }

  async #read(exchange: Exchange, route: Exclude<Route, { kind: 'base' }>): Promise<void> {
    if (this.#receiver !== undefined && isWrite(exchange)) {
      throw new Refusal(403, 'DENIED', 'this credential only reads');
    }
    switch (route.kind) {
      case 'manifest':
        requireRead(exchange);
        if (this.#published === undefined) throw unknownManifest(route.reference);
        return this.#published.sendManifest(exchange, route.reference);
      case 'blob':
        requireRead(exchange);
        if (this.#published === undefined) throw unknownBlob(route.digest);
        return this.#published.sendBlob(exchange, route.digest);
      case 'tags':
        requireRead(exchange);
        return sendJson(exchange, 'application/json', {
          name: this.#name.repository,
          tags: this.#published === undefined ? [] : page([this.#name.tag], exchange.query),
        });
      case 'referrers':
        requireRead(exchange);
        if (!looksLikeDigest(route.digest)) throw malformedDigest();
        return sendReferrers(exchange);
      case 'uploads':
      case 'upload':
        throw methodNotAllowed('');
    }
  }
}

/** Nothing refers to our image, whatever it is filtered by (distribution-spec, Listing Referrers). */
function sendReferrers(exchange: Exchange): void {
  if (exchange.query.has('artifactType')) {
    exchange.response.setHeader('OCI-Filters-Applied', 'artifactType');
  }
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  sendJson(exchange, mediaType, { schemaVersion: 2, mediaType, manifests: [] });
}

/** The tags after `last`, at most `n` of them (distribution-spec, Listing Tags). */
function page(tags: readonly string[], query: URLSearchParams): readonly string[] {
  const n = query.get('n');
  if (n !== null && !/^\d{1,9}$/.test(n)) {
    throw new Refusal(400, 'UNSUPPORTED', 'n is not a number of tags');
  }
  const last = query.get('last');
  const after = last === null ? tags : tags.filter((tag) => tag > last);
  return n === null ? after : after.slice(0, Number(n));
}

function sendJson(exchange: Exchange, mediaType: string, document: object): void {
  sendBytes(exchange, 200, { 'Content-Type': mediaType }, Buffer.from(JSON.stringify(document)));
}

function isWrite({ request }: Exchange): boolean {
  return request.method !== 'GET' && request.method !== 'HEAD';
}

function requireRead(exchange: Exchange): void {
  if (isWrite(exchange)) throw methodNotAllowed('GET, HEAD');
}

/** What went wrong inside is not the client's to read. */
function asRefusal(error: unknown): Refusal {
  return error instanceof Refusal ? error : new Refusal(500, 'UNKNOWN', 'the registry failed');
}
