import { randomBytes } from 'node:crypto';
import { z } from 'zod';
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
export const SealOutcome = z.enum(['answered', 'refused', 'failed', 'error']);
export type SealOutcome = z.infer<typeof SealOutcome>;

/** One line of the probe's standard output. `detail` is its first line of proof: an errno, a status line, a greeting. */
const SealReport = z.object({
  check: z.string(),
  outcome: SealOutcome,
  detail: z.string().max(500).default(''),
});

export interface SealCheck {
  readonly name: string;
  /** For people: what is tried. */
  readonly title: string;
  readonly attempt: SealAttempt;
  readonly expected: 'answered' | 'refused' | 'failed';
  /** What the detail must begin with, so that an answer of somebody else is none. */
  readonly proof?: string;
}

/** A documentation address (RFC 5737) would fail even where the bottle has a way out; these answer wherever there is one. */
const publicAddress = '1.1.1.1';
const metadataAddress = '169.254.169.254';

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
      proof: ownGreeting,
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
    },
    {
      name: 'no-dns',
      title: 'a question to a public resolver over UDP fails',
      attempt: { kind: 'udp', address: publicAddress, port: 53, name: canary },
      expected: 'failed',
    },
    {
      name: 'no-metadata',
      title: 'the metadata address of clouds fails',
      attempt: { kind: 'tcp', address: metadataAddress, port: 80 },
      expected: 'failed',
    },
  ];
}

function newCanary(): string {
  return `canary-${randomBytes(8).toString('hex')}.invalid`;
}

/** Runs a command inside the bottle. A backend gives it. */
export type SealExec = (
  argv: readonly string[],
) => Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;

/**
 * The command that makes the attempts, given the probe program of the bottle: `PROBE probe NAME=ATTEMPT...`, where an
 * attempt is `proxy:URL`, `direct:URL`, `tcp:ADDRESS:PORT` or `udp:ADDRESS:PORT:NAME`. It makes all of them at once,
 * gives each a second, and prints one JSON line for each: `{"check","outcome","detail"}`. No image has a tool for this
 * that can be relied on, so the program is one that the backend brings along.
 */
export function probeCommand(probe: string, checks: readonly SealCheck[]): string[] {
  return [probe, 'probe', ...checks.map(({ name, attempt }) => `${name}=${formatAttempt(attempt)}`)];
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

/** Holds what the probe printed against what was expected. Missing, doubled and unreadable reports pass nothing. */
export function evaluateSeal(checks: readonly SealCheck[], stdout: string): readonly SealResult[] {
  const reports = stdout.split('\n').flatMap((line) => {
    try {
      const report = SealReport.safeParse(JSON.parse(line));
      return report.success ? [report.data] : [];
    } catch {
      return [];
    }
  });
  return checks.map((check) => {
    const [report, second] = reports.filter((one) => one.check === check.name);
    if (report === undefined) return { check, passed: false, observed: 'the probe said nothing' };
    if (second !== undefined) return { check, passed: false, observed: 'the probe said two things' };
    const { outcome, detail } = report;
    const passed = outcome === check.expected && detail.startsWith(check.proof ?? '');
    return { check, passed, observed: detail === '' ? outcome : `${outcome}: ${printable(detail)}` };
  });
}

/** The detail comes out of the bottle, so it may hold anything. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}

export interface SealOptions {
  readonly gate: Gate;
  readonly slug: string;
  readonly exec: SealExec;
  /** The probe program's path in the bottle. */
  readonly probe: string;
}

/**
 * Proves the fence from inside, and writes the result to the gate's log.
 * @returns how many checks passed, and how long it took.
 * @throws SealBroken if one did not
 */
export async function checkSeal({
  gate,
  slug,
  exec,
  probe,
}: SealOptions): Promise<{ checks: number; ms: number }> {
  const checks = sealChecks();
  const account = new Account(slug);
  const began = performance.now();
  const { code, stdout } = await exec(probeCommand(probe, checks));
  const results = evaluateSeal(checks, code === 0 ? stdout : '');
  const missed = results.filter(({ passed }) => !passed);
  if (missed.length > 0) account.reason = missed.map(({ check }) => check.name).join(' ');
  gate.note(account.line('seal', missed.length === 0 ? 'allow' : 'fail'));
  if (missed.length > 0) {
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
