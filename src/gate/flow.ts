import type { AuditRecord } from './audit.ts';
import type { Limits } from './limits.ts';
import type { Network } from './dial.ts';
import type { Buffers } from './inlet.ts';
import type { Ask, Policy } from './policy.ts';
import type { Refusal } from './refusal.ts';
import { formatOrigin, formatRule, type Rule } from './rule.ts';

/** Something under way that the policy let through, and that a later policy may cut. */
export interface Flow {
  readonly ask: Ask;
  cut(refusal: Refusal): void;
}

/** What a connection needs of its gate. */
export interface Surroundings {
  readonly slug: string;
  readonly limits: Limits;
  readonly network: Network;
  readonly buffers: Buffers;
  /** The policy of this moment. */
  readonly policy: () => Policy;
  readonly flows: Set<Flow>;
  /** @param refusal what was answered, if the gate answered. */
  readonly record: (record: AuditRecord, refusal?: Refusal) => void;
}

/** What is known of one request, for the log. Filled in while it is served. */
export class Account {
  readonly #slug: string;
  readonly #time: string;
  readonly #began: number;
  host: string | undefined;
  port: number | undefined;
  method: string | undefined;
  path: string | undefined;
  rule: Rule | undefined;
  reason: string | undefined;
  status: number | undefined;
  address: string | undefined;
  in = 0;
  out = 0;

  /** @param began when it began, of `performance.now()`. */
  constructor(slug: string, began: number = performance.now()) {
    this.#slug = slug;
    this.#began = began;
    this.#time = new Date(Date.now() - (performance.now() - began)).toISOString();
  }

  refusedBy(refusal: Refusal): void {
    this.reason = refusal.reason;
    this.status = refusal.status;
    this.rule = refusal.rule ?? this.rule;
  }

  line(event: AuditRecord['event'], decision: AuditRecord['decision']): AuditRecord {
    const { host, port, method, path, rule, reason, status, address } = this;
    return {
      time: this.#time,
      slug: this.#slug,
      event,
      decision,
      ...(host === undefined ? {} : { host }),
      ...(port === undefined ? {} : { port }),
      ...(method === undefined ? {} : { method }),
      ...(path === undefined ? {} : { path }),
      ...(rule === undefined ? {} : { rule: formatRule(rule), origin: formatOrigin(rule.origin) }),
      ...(reason === undefined ? {} : { reason }),
      ...(status === undefined ? {} : { status }),
      ...(address === undefined ? {} : { address }),
      in: this.in,
      out: this.out,
      ms: Math.round((performance.now() - this.#began) * 10) / 10,
    };
  }

  /** Refused by policy or form, or failed although allowed. */
  refusal(): AuditRecord {
    return this.line('request', (this.status ?? 0) >= 500 && this.reason !== 'busy' ? 'fail' : 'deny');
  }
}
