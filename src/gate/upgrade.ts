import { createHash } from 'node:crypto';
import type { Field, RequestHead, ResponseHead } from './http/head.ts';

/** RFC 6455 §1.3. */
const webSocketGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** What makes a request one for a WebSocket. */
export interface WebSocketAsk {
  readonly key: string;
}

/**
 * Reads the wish for a WebSocket (RFC 6455 §4.1). It is the only protocol that the gate switches to: behind another one,
 * `h2c` for one, requests would go through that no rule has seen.
 */
export function webSocketAsk({ method, minor, fields }: RequestHead): WebSocketAsk | undefined {
  const keys = fields.all('sec-websocket-key');
  const isAsked =
    method === 'GET' &&
    minor === 1 &&
    fields.tokens('connection').includes('upgrade') &&
    fields.tokens('upgrade').join() === 'websocket';
  return isAsked && keys.length === 1 ? { key: keys[0] ?? '' } : undefined;
}

/** Whether a 101 is the answer to this very request, so that the host does speak WebSocket from here on. */
export function acceptsWebSocket({ key }: WebSocketAsk, { fields }: ResponseHead): boolean {
  const expected = createHash('sha1').update(`${key}${webSocketGuid}`).digest('base64');
  return (
    fields.all('sec-websocket-accept').join() === expected && fields.tokens('upgrade').join() === 'websocket'
  );
}

export const upgradeFields: readonly Field[] = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
];
