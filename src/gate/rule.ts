import { type AddressKind, addressKinds } from './address.ts';
import { tooBroad } from './broad.ts';
import { RuleInvalid, RuleTooBroad } from './errors.ts';
import { formatAuthority, parseWrittenHost } from './host.ts';
import { formatPathPattern, parsePathPattern, type PathPattern } from './path.ts';

/** Where a rule was written, so that a refusal can name it. */
export type RuleOrigin =
  | { readonly kind: 'file'; readonly path: string; readonly line: number }
  | { readonly kind: 'preset'; readonly preset: string; readonly from?: string }
  | { readonly kind: 'command'; readonly command: 'allow' | 'deny' };

/** `exact`: this name or address; `one`: one label below `name`; `any`: one label or more below it. */
export interface HostPattern {
  readonly kind: 'exact' | 'one' | 'any';
  /** Normalised; empty for the patterns `*` and `**`. */
  readonly name: string;
  readonly isAddress: boolean;
}

/** One rule of a policy, normalised. */
export interface Rule {
  readonly action: 'allow' | 'deny';
  readonly host: HostPattern;
  /** `any`, or those listed. */
  readonly ports: 'any' | readonly number[];
  /** Upper case; `undefined` for all. Seen in plain HTTP only. */
  readonly methods: readonly string[] | undefined;
  /** `undefined` for all. Seen in plain HTTP only. */
  readonly paths: readonly PathPattern[] | undefined;
  /** The kinds of addresses, beside public ones, that the name may resolve to. */
  readonly reach: readonly AddressKind[];
  readonly origin: RuleOrigin;
}

/** A rule as definitions hold it. `paths`: `/exact` or `/below/*`. Without `ports`: 80 and 443, or 80 if it has methods or paths. */
export interface RuleInput {
  readonly host: string;
  readonly ports?: 'any' | readonly number[] | undefined;
  readonly methods?: readonly string[] | undefined;
  readonly paths?: readonly string[] | undefined;
  readonly reach?: readonly AddressKind[] | undefined;
}

export interface RuleContext {
  readonly action: 'allow' | 'deny';
  readonly origin: RuleOrigin;
  /** The user has said that over-broad patterns are meant. */
  readonly iKnow?: boolean;
}

/**
 * Makes a rule of what a definition or a command line says. An over-broad pattern may be denied by anybody, and allowed
 * only by who says `iKnow`.
 * @throws RuleInvalid, RuleTooBroad
 */
export function makeRule(input: RuleInput, { action, origin, iKnow = false }: RuleContext): Rule {
  const invalid = (problem: string) =>
    new RuleInvalid({ rule: input.host, problem, origin: formatOrigin(origin) });
  const problem = problemOf(input);
  if (problem !== undefined) throw invalid(problem);
  const { methods, paths, reach = [] } = input;
  const host = parseHostPattern(input.host);
  if (host === undefined) throw invalid('the host is neither a name nor *.name nor **.name nor an address');
  const why = host.kind === 'exact' || action === 'deny' ? undefined : tooBroad(host.name);
  if (why !== undefined && !iKnow) {
    throw new RuleTooBroad({ rule: input.host, why, origin: formatOrigin(origin) });
  }
  const patterns = paths?.map((path) => {
    const pattern = parsePathPattern(path);
    if (pattern === undefined) throw invalid(`the path ${JSON.stringify(path)} has more than one spelling`);
    return pattern;
  });
  const narrow = methods !== undefined || paths !== undefined;
  return {
    action,
    host,
    ports: input.ports ?? (narrow ? [80] : [80, 443]),
    methods: methods?.map((method) => method.toUpperCase()),
    paths: patterns,
    reach,
    origin,
  };
}

/** What no rule can say. By hand: a schema library would be a third of what the gate's process weighs (docs/benchmarks.md). */
function problemOf({ host, ports, methods, paths, reach }: RuleInput): string | undefined {
  if (host.length > 300) return 'the host is longer than 300 characters';
  const lists = { ports, methods, paths };
  for (const [name, list] of Object.entries(lists))
    if (list?.length === 0) return `the list of ${name} is empty`;
  const isPort = (port: number) => Number.isInteger(port) && port >= 1 && port <= 65_535;
  if (ports !== undefined && ports !== 'any' && !ports.every(isPort)) return 'a port is not from 1 to 65535';
  if (methods?.every((method) => /^[A-Za-z]{1,20}$/.test(method)) === false) return 'a method is not a word';
  if (paths?.some((path) => path.length > 2000) === true) return 'a path is longer than 2000 characters';
  if (reach?.every((kind) => addressKinds.includes(kind)) === false)
    return 'there is no such kind of address';
  return undefined;
}

/**
 * Reads the short form of commands: `host`, `host:port`, `host:*`, `*.host:port`, `[address]:port`.
 * @throws RuleInvalid, RuleTooBroad
 */
export function parseRule(text: string, context: RuleContext, reach: readonly AddressKind[] = []): Rule {
  const match = /^(\[[^\]]*\]|[^:[\]]*|[0-9A-Fa-f:.]*::?[0-9A-Fa-f:.]*)(?::(\*|[0-9]{1,6}))?$/.exec(text);
  const bare = parseWrittenHost(text);
  const host = bare?.isAddress === true ? text : (match?.[1] ?? text);
  const port = bare?.isAddress === true ? undefined : match?.[2];
  return makeRule(
    {
      host,
      ...(port === undefined ? {} : { ports: port === '*' ? 'any' : [Number(port)] }),
      ...(reach.length === 0 ? {} : { reach: [...reach] }),
    },
    context,
  );
}

function parseHostPattern(text: string): HostPattern | undefined {
  if (text === '*' || text === '**') return { kind: 'any', name: '', isAddress: false };
  const wildcard = /^(\*\*?)\.(.+)$/.exec(text);
  const host = parseWrittenHost(wildcard?.[2] ?? text);
  if (host === undefined || (wildcard !== null && host.isAddress)) return undefined;
  const kind = wildcard === null ? 'exact' : wildcard[1] === '*' ? 'one' : 'any';
  return { kind, name: host.text, isAddress: host.isAddress };
}

/** The rule in one line, without where it comes from: `allow *.example.com:443`. */
export function formatRule(rule: Rule): string {
  const { host, ports, methods, paths, reach } = rule;
  const stars = { exact: '', one: '*', any: '**' }[host.kind];
  const name = host.kind === 'exact' ? formatAuthority(host.name, 0, 0) : host.name;
  const pattern = [stars, name].filter((part) => part !== '').join('.');
  const isUsual = ports !== 'any' && ports.join() === ((methods ?? paths) ? '80' : '80,443');
  const port = isUsual ? '' : `:${ports === 'any' ? '*' : ports.join(',')}`;
  return [
    rule.action,
    `${pattern}${port}`,
    ...(methods ?? []),
    ...(paths ?? []).map(formatPathPattern),
    ...(reach.length === 0 ? [] : [`reach ${reach.join(',')}`]),
  ].join(' ');
}

/** Where the rule was written: `bottles/dev.md:12`, `preset npm (~/.npmrc)`, `claude-bottle allow`. */
export function formatOrigin(origin: RuleOrigin): string {
  switch (origin.kind) {
    case 'file':
      return `${origin.path}:${origin.line}`;
    case 'preset':
      return `preset ${origin.preset}${origin.from === undefined ? '' : ` (${origin.from})`}`;
    case 'command':
      return `claude-bottle ${origin.command}`;
  }
}
