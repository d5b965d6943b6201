import { randomBytes } from 'node:crypto';
import { SealBroken } from './errors.ts';
import { Account } from './flow.ts';
import type { Gate } from './gate.ts';
import { ownGreeting, ownName } from './own-name.ts';

/** How a probe inside the bottle tries to get out. */
export type SealAttempt =
  | { readonly kind: 'proxy'; readonly url: string }
  | { readonly kind: 'direct'; readonly url: string }
  | { readonly kind: 'tcp'; readonly address: string; readonly port: number }
  | { readonly kind: 'udp'; readonly address: string; readonly port: number; readonly name: string };

/**
 * What came of it. `answered`: bytes came back; `refused`: the gate's 403; `failed`: nothing came back. A probe that
 * could not even try says `error`, which passes no check.
 */
export type SealOutcome = (typeof sealOutcomes)[number];
const sealOutcomes = ['answered', 'refused', 'failed', 'error'] as const;

/** One line of what the probe reports. `detail` is its first line of proof: an errno, a status line, a greeting. */
interface SealReport {
  readonly check: string;
  readonly outcome: SealOutcome;
  readonly detail: string;
}

const maxDetail = 500;

export interface SealCheck {
  readonly name: string;
  /** For people: what is tried. */
  readonly title: string;
  readonly attempt: SealAttempt;
  readonly expected: 'answered' | 'refused' | 'failed';
  /** One of these the detail must begin with: an answer of somebody else is none, and neither is a failure by chance. */
  readonly proofs?: readonly string[];
}

/** A documentation address (RFC 5737) would fail even where the bottle has a way out; these answer wherever there is one. */
const publicAddress = '1.1.1.1';
const metadataAddress = '169.254.169.254';

/**
 * How a kernel without any route says so: ENETUNREACH, and EHOSTUNREACH of gVisor. A firewall that drops or resets, and
 * a host that is offline, say something else, and are no proof of a fence.
 */
const noRoute = ['Network is unreachable', 'No route to host'];

/**
 * The six checks. The canary is a fresh name below `.invalid` (RFC 6761), so that no rule can allow it by accident and
 * no cache can answer for it. Its refusal is the gate's, since the gate decides before it resolves. That it fails without
 * the gate proves little by itself, since the name does not exist: the three attempts at addresses carry the weight.
 */
export function sealChecks(canary: string = newCanary()): readonly SealCheck[] {
  return [
    {
      name: 'gate-answers',
      title: 'the gate answers for an allowed name',
      attempt: { kind: 'proxy', url: `http://${ownName}/` },
      expected: 'answered',
      proofs: [ownGreeting],
    },
    {
      name: 'canary-refused',
      title: 'the gate refuses a name that no rule allows',
      attempt: { kind: 'proxy', url: `http://${canary}/` },
      expected: 'refused',
    },
    {
      name: 'no-direct-name',
      title: 'the same name without the gate fails',
      attempt: { kind: 'direct', url: `http://${canary}/` },
      expected: 'failed',
    },
    {
      name: 'no-tcp',
      title: 'a TCP connection to a public address fails',
      attempt: { kind: 'tcp', address: publicAddress, port: 443 },
      expected: 'failed',
      proofs: noRoute,
    },
    {
      name: 'no-dns',
      title: 'a question to a public resolver over UDP fails',
      attempt: { kind: 'udp', address: publicAddress, port: 53, name: canary },
      expected: 'failed',
      proofs: noRoute,
    },
    {
      name: 'no-metadata',
      title: 'the metadata address of clouds fails',
      attempt: { kind: 'tcp', address: metadataAddress, port: 80 },
      expected: 'failed',
      proofs: noRoute,
    },
  ];
}

function newCanary(): string {
  return `canary-${randomBytes(8).toString('hex')}.invalid`;
}

/**
 * The attempts as the first process of the bottle takes them, `NAME=ATTEMPT` each, where an attempt is `proxy:URL`,
 * `direct:URL`, `tcp:ADDRESS:PORT` or `udp:ADDRESS:PORT:NAME`. It makes all of them at once, and reports one JSON line for
 * each: `{"check","outcome","detail"}`. No image has a tool for this that can be relied on, so it is our own program.
 */
export function probeArguments(checks: readonly SealCheck[]): string[] {
  return checks.map(({ name, attempt }) => `${name}=${formatAttempt(attempt)}`);
}

function formatAttempt(attempt: SealAttempt): string {
  switch (attempt.kind) {
    case 'proxy':
    case 'direct':
      return `${attempt.kind}:${attempt.url}`;
    case 'tcp':
      return `tcp:${attempt.address}:${attempt.port}`;
    case 'udp':
      return `udp:${attempt.address}:${attempt.port}:${attempt.name}`;
  }
}

export interface SealResult {
  readonly check: SealCheck;
  readonly passed: boolean;
  /** The outcome, with the probe's detail; or that there was none. */
  readonly observed: string;
}

/** Holds what the probe reported against what was expected. Missing, doubled and unreadable reports pass nothing. */
export function evaluateSeal(checks: readonly SealCheck[], report: string): readonly SealResult[] {
  const reports = report.split('\n').flatMap((line) => readReport(line) ?? []);
  return checks.map((check) => {
    const [first, second] = reports.filter((one) => one.check === check.name);
    if (first === undefined) return { check, passed: false, observed: 'the probe said nothing' };
    if (second !== undefined) return { check, passed: false, observed: 'the probe said two things' };
    const { outcome, detail } = first;
    const passed =
      outcome === check.expected && (check.proofs ?? ['']).some((proof) => detail.startsWith(proof));
    return { check, passed, observed: detail === '' ? outcome : `${outcome}: ${printable(detail)}` };
  });
}

/** It comes out of the bottle, so it may be anything. */
function readReport(line: string): SealReport | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('check' in value) || !('outcome' in value))
    return undefined;
  const { check, outcome: said } = value;
  const detail = 'detail' in value ? value.detail : '';
  const outcome = sealOutcomes.find((one) => one === said);
  if (typeof check !== 'string' || outcome === undefined) return undefined;
  if (typeof detail !== 'string' || detail.length > maxDetail) return undefined;
  return { check, outcome, detail };
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}

export interface SealJudgement {
  readonly gate: Gate;
  readonly slug: string;
  /** Those that the attempts were made from. */
  readonly checks: readonly SealCheck[];
  /** What came back from inside, as it came. Empty if nothing did. */
  readonly report: string;
  /** When the attempts began, of `performance.now()`. */
  readonly began: number;
}

/**
 * Judges what was reported from inside, and writes the result to the gate's log.
 * @returns how many checks passed, and how long it took, in milliseconds.
 * @throws SealBroken if one did not
 */
export function judgeSeal({ gate, slug, checks, report, began }: SealJudgement): {
  readonly checks: number;
  readonly ms: number;
} {
  const missed = evaluateSeal(checks, report).filter(({ passed }) => !passed);
  // No checks at all are no proof.
  const isSealed = checks.length > 0 && missed.length === 0;
  const account = new Account(slug, began);
  if (!isSealed) account.reason = missed.map(({ check }) => check.name).join(' ');
  gate.note(account.line('seal', isSealed ? 'allow' : 'fail'));
  if (!isSealed) {
    throw new SealBroken({
      missed: missed.map(({ check, observed }) => ({
        check: check.title,
        expected: check.expected,
        observed,
      })),
    });
  }
  return { checks: checks.length, ms: Math.round(performance.now() - began) };
}
