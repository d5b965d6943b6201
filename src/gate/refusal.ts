import { formatAuthority } from './host.ts';
import { formatOrigin, formatRule, type Rule } from './rule.ts';

/**
 * Why a request did not go through, as `X-Claude-Bottle-Reason` and the audit log say it. The first group is policy, the
 * second malformed HTTP, the third a host that could not be reached although it is allowed.
 */
export type Reason =
  | 'no-rule'
  | 'denied'
  | 'denied-meanwhile'
  | 'address'
  | 'tls-name'
  | 'not-tls'
  | 'malformed'
  | 'ambiguous-host'
  | 'host-mismatch'
  | 'not-proxy-form'
  | 'too-large'
  | 'too-slow'
  | 'busy'
  | 'unresolved'
  | 'unreachable'
  | 'upstream-slow'
  | 'upstream-lost'
  | 'upstream-malformed'
  | 'closing';

export interface RefusalFacts {
  readonly status: number;
  readonly reason: Reason;
  /** One clause in plain words. Never raw bytes of the request: it goes into bodies and logs. */
  readonly detail: string;
  /** The rule that refuses. */
  readonly rule?: Rule;
  /** What was asked for, if it could be read. */
  readonly host?: string;
  readonly port?: number;
  /** What the user would add to the command that allows it: `--reach private`. */
  readonly allowWith?: string;
}

/** An answer that the gate gives in place of a host. */
export class Refusal extends Error {
  readonly status: number;
  readonly reason: Reason;
  readonly detail: string;
  readonly rule: Rule | undefined;
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly allowWith: string | undefined;

  constructor(facts: RefusalFacts, options?: ErrorOptions) {
    super(`${facts.reason}: ${facts.detail}`, options);
    this.name = 'Refusal';
    this.status = facts.status;
    this.reason = facts.reason;
    this.detail = facts.detail;
    this.rule = facts.rule;
    this.host = facts.host;
    this.port = facts.port;
    this.allowWith = facts.allowWith;
  }
}

/** HTTP that could be read in two ways, or not at all. The connection ends, since where it stands is unknown. */
export function malformed(detail: string, reason: Reason = 'malformed', status = 400): Refusal {
  return new Refusal({ status, reason, detail });
}

const reasonPhrases: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  // Of a refused CONNECT most clients show nothing but this line.
  403: 'Forbidden by claude-bottle policy',
  408: 'Request Timeout',
  414: 'URI Too Long',
  431: 'Request Header Fields Too Large',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

export interface RefusalSubject {
  /** Undefined when the request could not be read. */
  readonly method?: string;
  readonly path?: string;
}

/**
 * The whole answer: the same on every path, written for the agent that reads it.
 * @param slug the bottle's name, for the command that the user can run.
 */
export function renderRefusal(
  refusal: Refusal,
  subject: RefusalSubject,
  slug: string,
  connection: 'close' | 'keep-alive',
): Buffer {
  const body = subject.method === 'HEAD' ? '' : explainRefusal(refusal, subject, slug);
  const { status, reason } = refusal;
  return Buffer.from(
    `HTTP/1.1 ${status} ${reasonPhrases[status] ?? 'Refused'}\r\n` +
      'Content-Type: text/plain; charset=utf-8\r\n' +
      `Content-Length: ${Buffer.byteLength(explainRefusal(refusal, subject, slug))}\r\n` +
      `X-Claude-Bottle-Reason: ${reason}\r\n` +
      'Cache-Control: no-store\r\n' +
      `Connection: ${connection}\r\n\r\n${body}`,
  );
}

/** The text of a refusal: what, why, whether it is policy or an outage, and what the user can do. */
export function explainRefusal(refusal: Refusal, subject: RefusalSubject, slug: string): string {
  const { status, rule } = refusal;
  const isPolicy = status === 403;
  const title = isPolicy
    ? 'blocked by the policy of this bottle'
    : status < 500
      ? 'this request is not valid here'
      : 'the host could not be reached';
  const lines = [`claude-bottle gate: ${title}`, ''];
  const what = formatSubject(refusal, subject);
  if (what !== undefined) lines.push(`what:  ${what}`);
  lines.push(`why:   ${refusal.detail}`);
  if (rule !== undefined) lines.push(`rule:  ${formatRule(rule)} (${formatOrigin(rule.origin)})`);
  lines.push('', ...advice(refusal, slug));
  return `${lines.join('\n')}\n`;
}

function formatSubject({ host, port }: Refusal, { method, path }: RefusalSubject): string | undefined {
  if (host === undefined || port === undefined) return undefined;
  const where = formatAuthority(host, port);
  return method === undefined || method === 'CONNECT'
    ? `a connection to ${where}`
    : `${method} http://${formatAuthority(host, port, 80)}${path ?? ''}`;
}

function advice(refusal: Refusal, slug: string): string[] {
  const { status, reason } = refusal;
  if (reason === 'busy') return ['Too many connections are open. Close some, then try again.'];
  if (status >= 500) {
    return [
      'The policy allows this host, so this is an outage or a wrong name, not a block. Trying again may help.',
    ];
  }
  if (status !== 403)
    return ['The gate takes only HTTP that has one reading. Fix the request, or use another client.'];
  const lines = [
    'This is a decision, not an outage. Do not try again, and do not look for a way round it: another tool, another',
    'name or address of the host, or no proxy will not work, because this bottle has no other network.',
  ];
  const command = remedy(refusal, slug);
  if (command !== undefined) {
    lines.push('If the task needs it, tell the user, who can allow it with:', '', `  ${command}`);
  } else if (refusal.rule !== undefined) {
    lines.push('If the task needs it, tell the user, who can change that rule.');
  }
  return lines;
}

/** The command with which the user allows what was refused; `undefined` where no command would help. */
export function remedy(
  { status, reason, host, port, rule, allowWith }: Refusal,
  slug: string,
): string | undefined {
  if (status !== 403 || host === undefined || port === undefined) return undefined;
  if (reason === 'tls-name' || reason === 'not-tls') return undefined;
  // A rule of a file or preset that denies wins over the command.
  if (rule !== undefined && rule.origin.kind !== 'command') return undefined;
  return allowCommand(slug, host, port, allowWith);
}

/** The command with which the user lets a host through. Safe to paste: the host is normalised, so it has no surprises. */
function allowCommand(slug: string, host: string, port: number, allowWith?: string): string {
  const authority = port === 80 || port === 443 ? formatAuthority(host, 0, 0) : formatAuthority(host, port);
  const target = authority.startsWith('[') ? `'${authority}'` : authority;
  return ['claude-bottle allow', slug, target, ...(allowWith === undefined ? [] : [allowWith])].join(' ');
}
