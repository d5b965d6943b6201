import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import type { AuditRecord } from '../../src/gate/audit.ts';
import { AuditLine } from '../../src/gate/audit-reader.ts';
import { hostNetwork, type Network } from '../../src/gate/dial.ts';
import { Gate, type GateOptions } from '../../src/gate/gate.ts';
import { parseRule, type Rule } from '../../src/gate/rule.ts';

/** Every name leads to this host; a rule with `reach loopback` is what lets the gate dial it. */
export const loopbackNetwork: Network = { ...hostNetwork, resolve: () => Promise.resolve(['127.0.0.1']) };

export function allow(text: string, line = 1): Rule {
  return parseRule(text, { action: 'allow', origin: { kind: 'file', path: 'bottles/test.md', line } }, [
    'loopback',
  ]);
}

export function deny(text: string, line = 1): Rule {
  return parseRule(text, { action: 'deny', origin: { kind: 'file', path: 'bottles/test.md', line } });
}

/** A request as a client of a proxy writes it. */
export const get = (where: string, path = '/', extra = 'Connection: close\r\n'): string =>
  `GET http://${where}${path} HTTP/1.1\r\nHost: ${where}\r\n${extra}\r\n`;

export interface TestGate extends AsyncDisposable {
  readonly gate: Gate;
  readonly socketPath: string;
  readonly log: () => Promise<AuditRecord[]>;
  readonly logText: () => Promise<string>;
}

export async function startGate(
  options: Partial<GateOptions> & { rules: readonly Rule[] },
): Promise<TestGate> {
  const directory = await mkdtemp(join(tmpdir(), 'gate-test-'));
  const path = join(directory, 'gate.jsonl');
  const gate = await Gate.start({
    socketPath: join(directory, 'gate.sock'),
    slug: 'demo-x1y2z',
    audit: { path },
    network: loopbackNetwork,
    ...options,
    limits: { lingerMs: 200, ...options.limits },
  });
  const logText = () => readFile(path, 'utf8');
  return {
    gate,
    socketPath: gate.socketPath,
    logText,
    async log() {
      await new Promise((resolve) => setImmediate(resolve));
      const text = await logText();
      return text
        .split('\n')
        .filter(Boolean)
        .map((line) => v.parse(AuditLine, JSON.parse(line)));
    },
    async [Symbol.asyncDispose]() {
      await gate[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export interface TestServer extends AsyncDisposable {
  readonly port: number;
  /** Connections that were ever made. */
  readonly connections: () => number;
}

/** An HTTP server on loopback. */
export async function httpServer(listener: RequestListener): Promise<TestServer> {
  const server = createHttpServer(listener);
  return listening(server, () => server.closeAllConnections());
}

/** A server on loopback that is given raw connections. */
export async function rawServer(onSocket: (socket: Socket) => void): Promise<TestServer> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    onSocket(socket);
  });
  return listening(server, () => sockets.forEach((socket) => socket.destroy()));
}

async function listening(server: ReturnType<typeof createServer>, cut: () => void): Promise<TestServer> {
  let connections = 0;
  server.on('connection', () => (connections += 1));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      cut();
      await closed;
    },
  };
}

/** Sends bytes as they are and returns all that comes back until the gate closes. `end` also closes our half. */
export function raw(
  socketPath: string,
  text: string | Uint8Array,
  options: { end?: boolean } = {},
): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(socketPath);
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => (answer += chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
    if (options.end === true) socket.end(text);
    else socket.write(text);
  });
}

/** A connection to the gate that collects what comes. */
export class Wire {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  isClosed = false;
  hasEnded = false;
  #wake: (() => void) | undefined;

  constructor(target: string | number) {
    this.socket =
      typeof target === 'string'
        ? connect({ path: target, allowHalfOpen: true })
        : connect(target, '127.0.0.1');
    this.socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.#wake?.();
    });
    this.socket.on('error', () => undefined);
    this.socket.on('end', () => {
      this.hasEnded = true;
      this.#wake?.();
    });
    this.socket.on('close', () => {
      this.isClosed = true;
      this.#wake?.();
    });
  }

  get text(): string {
    return this.received.toString('latin1');
  }

  send(text: string | Uint8Array): void {
    this.socket.write(text);
  }

  /** Waits until what came satisfies the condition. Rejects if the connection ends first. */
  async until(condition: (text: string) => boolean): Promise<string> {
    while (!condition(this.text)) {
      if (this.isClosed || this.hasEnded) throw new Error(`closed after ${JSON.stringify(this.text)}`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return this.text;
  }

  async closed(): Promise<void> {
    while (!this.isClosed && !this.hasEnded) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** The status codes of the responses in a text, in order. */
export function statuses(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3})\b/g)].map(([, status]) => Number(status));
}

/** The reasons of the refusals in a text, in order. */
export function reasons(text: string): string[] {
  return [...text.matchAll(/^X-Claude-Bottle-Reason: (\S+)/gm)].map(([, reason]) => reason ?? '');
}
