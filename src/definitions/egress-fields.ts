import { z } from 'zod';
import { addressKinds } from '../gate/address.ts';
import { RuleTooBroad } from '../gate/errors.ts';
import { parsePathPattern } from '../gate/path.ts';
import { presetNames } from '../gate/presets/presets.ts';
import { makeRule, parseRule, type RuleInput } from '../gate/rule.ts';
import { anything, byKind, list, mapping, read, text } from './fields.ts';

/** An entry of `allow` or `deny`: the short form, or the long one. */
export type WrittenRule = { readonly short: string } | { readonly long: RuleInput };

const method = text('a method, such as GET', /^[A-Za-z]{1,20}$/);
const port = read('a port: 1 to 65535', (value) => {
  const number = /^[0-9]{1,5}$/.test(value) ? Number(value) : 0;
  return number >= 1 && number <= 65_535 ? number : undefined;
});

/** What the gate would not take is found here, where the line is known; the words are ours, since its own quote the rule. */
function rule(expected: string, make: (value: string) => unknown) {
  return z.unknown().transform((value, context): string => {
    try {
      if (typeof value === 'string') {
        make(value);
        return value;
      }
      context.addIssue({ code: 'custom', message: `expected ${expected}` });
    } catch (error) {
      const message =
        error instanceof RuleTooBroad
          ? 'this pattern matches names that anybody can get; if that is meant, say --i-know'
          : `expected ${expected}`;
      context.addIssue({ code: 'custom', message });
    }
    return z.NEVER;
  });
}

const hosts = 'a host: a name, *.name, **.name or an address; no scheme and no path';

function hostText(action: 'allow' | 'deny', iKnow: boolean) {
  return rule(hosts, (host) => makeRule({ host }, { action, iKnow, origin: nowhere }));
}

/** For rules that are made only to see whether they can be. */
const nowhere = { kind: 'file', path: '', line: 0 } as const;

function rules(action: 'allow' | 'deny', iKnow: boolean) {
  const short = rule(
    `${hosts}; with :port or :* if it is not 443 and 80`,
    (value) => void parseRule(value, { action, iKnow, origin: nowhere }),
  ).transform((value): WrittenRule => ({ short: value }));
  const long = mapping({
    host: hostText(action, iKnow),
    ports: byKind(
      {
        text: read('`any` or a list of ports', (value) => (value === 'any' ? ('any' as const) : undefined)),
        list: notEmpty(z.array(port), 'ports'),
      },
      '`any` or a list of ports',
    ).optional(),
    methods: notEmpty(list(method, 'methods'), 'methods').optional(),
    paths: notEmpty(
      list(
        read('a path with one spelling: /exact or /below/*', (value) =>
          parsePathPattern(value) === undefined ? undefined : value,
        ),
        'paths',
      ),
      'paths',
    ).optional(),
    reach: list(
      read(`one of ${addressKinds.join(', ')}`, (value) => addressKinds.find((kind) => kind === value)),
      'kinds of addresses',
    ).optional(),
  }).transform((value): WrittenRule => ({ long: withoutUndefined(value) }));
  return list(byKind({ text: short, mapping: long }, 'a host or a mapping with `host`'), 'hosts or rules');
}

/** An empty list might be meant as none or as all: neither is guessed. */
function notEmpty<S extends z.ZodType<readonly unknown[]>>(schema: S, of: string) {
  return schema.refine((value) => value.length > 0, {
    error: `expected at least one; without the key: all ${of}`,
  });
}

function withoutUndefined(value: {
  host: string;
  ports?: 'any' | number[] | undefined;
  methods?: string[] | undefined;
  paths?: string[] | undefined;
  reach?: (typeof addressKinds)[number][] | undefined;
}): RuleInput {
  const { host, ports, methods, paths, reach } = value;
  return {
    host,
    ...(ports === undefined ? {} : { ports }),
    ...(methods === undefined ? {} : { methods }),
    ...(paths === undefined ? {} : { paths }),
    ...(reach === undefined ? {} : { reach }),
  };
}

const routePath = mapping({
  type: read('prefix, exact or regex', (value) =>
    (['prefix', 'exact', 'regex'] as const).find((type) => type === value),
  ),
  value: text('a path'),
}).superRefine(({ type, value }, context) => {
  // A star would turn into a pattern of the gate's and let more through than is written.
  const plain = parsePathPattern(value) !== undefined && !value.includes('*');
  if (type === 'regex' || plain) return;
  context.addIssue({
    code: 'custom',
    path: ['value'],
    message: 'expected a path with one spelling, and without *',
  });
});

/** An entry of `matches`: what it says in one entry must all hold, and one entry is enough. */
const match = mapping({
  paths: notEmpty(list(routePath, 'paths'), 'paths').optional(),
  methods: notEmpty(list(method, 'methods'), 'methods').optional(),
  headers: anything.optional(),
});
export type RouteMatch = z.output<typeof match>;

function route(iKnow: boolean) {
  return mapping({
    host: hostText('allow', iKnow),
    matches: notEmpty(list(match, 'matches'), 'requests').optional(),
    auth: mapping({
      scheme: text('Bearer or token', /^(?:Bearer|token)$/),
      token_ref: text('the name of a variable'),
    }).optional(),
    role: anything.optional(),
    git: anything.optional(),
    dlp: anything.optional(),
  });
}
export type Route = z.output<ReturnType<typeof route>>;

/** `egress` of a bottle. */
export function egressFields(iKnow: boolean) {
  return mapping({
    log: read('0, 1 or 2', (value) => (/^[012]$/.test(value) ? Number(value) : undefined)).optional(),
    routes: list(route(iKnow), 'routes').optional(),
    presets: list(
      read(`one of ${presetNames.join(', ')}`, (value) => presetNames.find((preset) => preset === value)),
      'presets',
    ).optional(),
    allow: rules('allow', iKnow).optional(),
    deny: rules('deny', iKnow).optional(),
  });
}
export type EgressFields = z.output<ReturnType<typeof egressFields>>;
