import { makeRule, parseRule, type Rule, type RuleInput } from '../gate/rule.ts';
import type { EgressFields, Route, RouteMatch } from './egress-fields.ts';
import type { FrontMatter } from './front-matter.ts';

/** `egress` of one file. */
export interface Egress {
  /** Where it stands: `file:line`. */
  readonly path: string;
  readonly presets: readonly string[];
  readonly rules: readonly Rule[];
  /** They go when `egress` is replaced. */
  readonly warnings: readonly string[];
}

/**
 * Turns `egress` into rules of the gate: never wider than what is written. What a route says and the gate cannot check
 * makes it narrower, and a warning says so.
 */
export function readEgress(fields: EgressFields, source: FrontMatter, iKnow: boolean): Egress {
  const warnings: string[] = [];
  const context = (action: 'allow' | 'deny', line: number) =>
    ({ action, iKnow, origin: { kind: 'file', path: source.path, line } }) as const;
  if (fields.log !== undefined) {
    warnings.push(
      `${source.path}:${source.lineOf(['egress', 'log'])}: \`egress.log\` changes nothing: every decision of the gate is in its log, and no request is in it whole`,
    );
  }
  const rules: Rule[] = [];
  for (const action of ['allow', 'deny'] as const) {
    for (const [index, entry] of (fields[action] ?? []).entries()) {
      const how = context(action, source.lineOf(['egress', action, index]));
      rules.push('short' in entry ? parseRule(entry.short, how) : makeRule(entry.long, how));
    }
  }
  for (const [index, route] of (fields.routes ?? []).entries()) {
    const at = ['egress', 'routes', index] as const;
    const warn = (below: readonly (string | number)[], text: string) => {
      warnings.push(`${source.path}:${source.lineOf([...at, ...below])}: ${text}`);
    };
    warnOf(route, warn);
    for (const { below, input } of inputsOf(route, warn)) {
      rules.push(makeRule(input, context('allow', source.lineOf([...at, ...below]))));
    }
  }
  return {
    path: `${source.path}:${source.lineOf(['egress'])}`,
    presets: [...new Set(fields.presets ?? [])],
    rules,
    warnings,
  };
}

type Warn = (below: readonly (string | number)[], text: string) => void;

function warnOf({ host, auth, role, git, dlp, matches }: Route, warn: Warn): void {
  if (auth !== undefined) {
    warn(['auth'], `requests to ${host} go out without credentials: injection is not built`);
  }
  if (role !== undefined) {
    warn(['role'], `the role of ${host} changes nothing in the bottle: tools there are not configured by it`);
  }
  if (git !== undefined) {
    warn(
      ['git'],
      `requests of git to ${host} pass or not like all others: the gate cannot tell them apart inside TLS`,
    );
  }
  if (dlp !== undefined)
    warn(['dlp'], `nothing that goes to ${host} or comes from it is scanned: that is not built`);
  if (matches !== undefined) {
    warn(
      ['matches'],
      `${host} is open over plain HTTP only: inside TLS the gate sees neither method nor path, so https stays closed`,
    );
  }
}

/** The rules of one route: without matches the host, else one for each match that the gate can check. */
function inputsOf({ host, matches }: Route, warn: Warn): { below: (string | number)[]; input: RuleInput }[] {
  if (matches === undefined) return [{ below: [], input: { host, ports: [80, 443] } }];
  return matches.flatMap((match, index) => {
    const below = ['matches', index];
    const input = inputOf(host, match, (inner, text) => warn([...below, ...inner], text));
    return input === undefined ? [] : [{ below, input }];
  });
}

function inputOf(host: string, { paths, methods, headers }: RouteMatch, warn: Warn): RuleInput | undefined {
  if (headers !== undefined) {
    warn(
      ['headers'],
      `what only this match lets through to ${host} is refused: the gate has no rules about headers`,
    );
    return undefined;
  }
  const known = paths?.flatMap(({ type, value }, index) => {
    if (type !== 'regex') return pathsOf(type, value);
    warn(
      ['paths', index],
      `what only this path lets through to ${host} is refused: the gate knows no regular expressions`,
    );
    return [];
  });
  // No path that it can check is not the same as no word about paths.
  if (known?.length === 0) return undefined;
  return {
    host,
    // Also where a match says nothing at all: a match is about requests, and inside TLS there are none to see.
    ports: [80],
    ...(methods === undefined ? {} : { methods }),
    ...(known === undefined ? {} : { paths: known }),
  };
}

/** A prefix counts by whole segments, as in HTTPRoute of the Gateway API: `/a` is `/a` and all below it, not `/ab`. */
function pathsOf(type: 'prefix' | 'exact', value: string): string[] {
  if (type === 'exact') return [value];
  return value.endsWith('/') ? [`${value}*`] : [value, `${value}/*`];
}
