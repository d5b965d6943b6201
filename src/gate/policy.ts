import type { AddressKind } from './address.ts';
import type { Host } from './host.ts';
import { allowsPath, deniesPath } from './path.ts';
import type { Rule } from './rule.ts';

/** What a bottle asks for. A tunnel (CONNECT) shows neither method nor path. */
export type Ask =
  | { readonly kind: 'tunnel'; readonly host: Host; readonly port: number }
  | {
      readonly kind: 'http';
      readonly host: Host;
      readonly port: number;
      readonly method: string;
      /** Without the query. */
      readonly path: string;
    };

export type Verdict =
  | {
      readonly allowed: true;
      /** The first rule that lets it through. */
      readonly rule: Rule;
      /** Beside `public`: what the name may resolve to, by all rules that let it through. `all` for a listed address. */
      readonly reach: 'all' | ReadonlySet<AddressKind>;
    }
  | {
      readonly allowed: false;
      /** The rule that refuses; `undefined` if there is just none that allows. */
      readonly rule: Rule | undefined;
      /** A rule names the host and port, but not this method and path. */
      readonly narrower: Rule | undefined;
    };

/**
 * An immutable set of rules. Nothing is allowed unless a rule says so, and a rule that denies wins over every rule that
 * allows, in whatever order they stand.
 */
export class Policy {
  readonly rules: readonly Rule[];
  readonly #exact = new Map<string, Rule[]>();
  /** By the name below which they match; the empty name for those that match everywhere. */
  readonly #wild = new Map<string, Rule[]>();

  constructor(rules: readonly Rule[]) {
    this.rules = [...rules];
    for (const rule of rules) {
      const index = rule.host.kind === 'exact' ? this.#exact : this.#wild;
      const list = index.get(rule.host.name);
      if (list === undefined) index.set(rule.host.name, [rule]);
      else list.push(rule);
    }
  }

  decide(ask: Ask): Verdict {
    const rules = this.#about(ask.host).filter(({ ports }) => ports === 'any' || ports.includes(ask.port));
    const denial = rules.find((rule) => rule.action === 'deny' && denies(rule, ask));
    if (denial !== undefined) return { allowed: false, rule: denial, narrower: undefined };
    const named = rules.filter((rule) => rule.action === 'allow');
    const allowing = named.filter((rule) => allows(rule, ask));
    const [rule] = allowing;
    if (rule === undefined) return { allowed: false, rule: undefined, narrower: named[0] };
    if (ask.host.isAddress) return { allowed: true, rule, reach: 'all' };
    return { allowed: true, rule, reach: new Set(allowing.flatMap(({ reach }) => reach)) };
  }

  /** The same policy with one more rule, and without the run-time rules that it answers: the last word counts. */
  with(rule: Rule): Policy {
    const kept = this.rules.filter((old) => old.origin.kind !== 'command' || !samePattern(old, rule));
    return new Policy([...kept, rule]);
  }

  #about(host: Host): Rule[] {
    const found = [...(this.#exact.get(host.text) ?? [])];
    // A wildcard is about names; an address is let through only where it is listed itself.
    if (host.isAddress)
      return [...found, ...(this.#wild.get('') ?? []).filter(({ action }) => action === 'deny')];
    let depth = 0;
    for (let rest = host.text; rest !== '';) {
      const dot = rest.indexOf('.');
      rest = dot < 0 ? '' : rest.slice(dot + 1);
      depth += 1;
      // A name that nobody can have (RFC 6761 §6.4) is not among `every host`: it proves that the gate does refuse.
      if (rest === '' && host.text.endsWith('.invalid')) break;
      for (const rule of this.#wild.get(rest) ?? []) {
        if (rule.host.kind === 'any' || depth === 1) found.push(rule);
      }
    }
    // In the order of the policy, so that the rule a refusal or the log names is the first one.
    return found.length < 2 ? found : this.rules.filter((rule) => found.includes(rule));
  }
}

/** A narrower rule cannot let a tunnel through, since nobody would hold the tunnel to it. */
function allows({ methods, paths }: Rule, ask: Ask): boolean {
  if (ask.kind === 'tunnel') return methods === undefined && paths === undefined;
  return (
    (methods === undefined || methods.includes(ask.method)) &&
    (paths === undefined || paths.some((pattern) => allowsPath(pattern, ask.path)))
  );
}

/** A narrower rule refuses a tunnel as a whole, since what it refuses could be inside. */
function denies({ methods, paths }: Rule, ask: Ask): boolean {
  if (ask.kind === 'tunnel') return true;
  return (
    (methods === undefined || methods.includes(ask.method.toUpperCase())) &&
    (paths === undefined || paths.some((pattern) => deniesPath(pattern, ask.path)))
  );
}

function samePattern(a: Rule, b: Rule): boolean {
  const key = ({ host, ports, methods, paths }: Rule) => JSON.stringify([host, ports, methods, paths]);
  return key(a) === key(b);
}
