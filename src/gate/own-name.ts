import type { Channel } from './channel.ts';
import type { Account, Surroundings } from './flow.ts';
import { type RequestHead, formatHead } from './http/head.ts';
import { requestFraming } from './http/body.ts';
import type { Target } from './http/target.ts';
import { malformed } from './refusal.ts';
import { formatRule } from './rule.ts';

/** A name that only the gate answers, and that no resolver knows (RFC 8375 reserves none; `.internal` is ICANN's for private use). */
export const ownName = 'gate.claude-bottle.internal';

/** The first line of what the gate says at `http://gate.claude-bottle.internal/`. */
export const ownGreeting = 'claude-bottle gate';

/**
 * Answers for the gate itself: `/` says that it is there, `/policy` lists the rules without where they stand. Nothing
 * is dialled. @throws Refusal
 */
export async function answerOwnName({
  client,
  head,
  target,
  gate,
  account,
}: {
  readonly client: Channel;
  readonly head: RequestHead;
  readonly target: Extract<Target, { kind: 'http' }>;
  readonly gate: Surroundings;
  readonly account: Account;
}): Promise<boolean> {
  if (requestFraming(head).kind !== 'none') throw malformed('the gate itself takes no body');
  const text = target.path === '/' ? `${ownGreeting}\n${gate.slug}\n` : policyText(target.path, gate);
  account.status = text === undefined ? 404 : 200;
  const body = Buffer.from(text ?? 'claude-bottle gate: there are / and /policy\n');
  const goesOn = head.minor === 1 && !head.fields.tokens('connection').includes('close');
  const answer = formatHead(`HTTP/1.1 ${account.status} ${text === undefined ? 'Not Found' : 'OK'}`, [
    ['Content-Type', 'text/plain; charset=utf-8'],
    ['Content-Length', `${body.length}`],
    ['Cache-Control', 'no-store'],
    ['Connection', goesOn ? 'keep-alive' : 'close'],
  ]);
  account.in = head.method === 'HEAD' ? 0 : body.length;
  gate.record(account.line('request', 'allow'));
  await client.push([Buffer.from(answer), ...(head.method === 'HEAD' ? [] : [body])]);
  return goesOn;
}

function policyText(path: string, gate: Surroundings): string | undefined {
  if (path !== '/policy') return undefined;
  return `${gate.policy().rules.map(formatRule).join('\n')}\n`;
}
