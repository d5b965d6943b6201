import * as v from 'valibot';
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
  return v.pipe(
    v.string(`expected ${expected}`),
    v.rawCheck(({ dataset, addIssue }) => {
      try {
        if (dataset.typed) make(dataset.value);
      } catch (error) {
        const message =
          error instanceof RuleTooBroad
            ? 'this pattern matches names that anybody can get; if that is meant, say --i-know'
            : `expected ${expected}`;
        addIssue({ message });
      }
    }),
  );
}

const hosts = 'a host: a name, *.name, **.name or an address; no scheme and no path';

function hostText(action: 'allow' | 'deny', iKnow: boolean) {
  return rule(hosts, (host) => makeRule({ host }, { action, iKnow, origin: nowhere }));
}

/** For rules that are made only to see whether they can be. */
const nowhere = { kind: 'file', path: '', line: 0 } as const;

function rules(action: 'allow' | 'deny', iKnow: boolean) {
  const short = v.pipe(
    rule(
      `${hosts}; with :port or :* if it is not 443 and 80`,
      (value) => void parseRule(value, { action, iKnow, origin: nowhere }),
    ),
    v.transform((value): WrittenRule => ({ short: value })),
  );
  const long = v.pipe(
    mapping({
      host: hostText(action, iKnow),
      ports: v.optional(
        byKind(
          {
            text: read('`any` or a list of ports', (value) =>
              value === 'any' ? ('any' as const) : undefined,
            ),
            list: notEmpty(v.array(port), 'ports'),
          },
          '`any` or a list of ports',
        ),
      ),
      methods: v.optional(notEmpty(list(method, 'methods'), 'methods')),
      paths: v.optional(
        notEmpty(
          list(
            read('a path with one spelling: /exact or /below/*', (value) =>
              parsePathPattern(value) === undefined ? undefined : value,
            ),
            'paths',
          ),
          'paths',
        ),
      ),
      reach: v.optional(
        list(
          read(`one of ${addressKinds.join(', ')}`, (value) => addressKinds.find((kind) => kind === value)),
          'kinds of addresses',
        ),
      ),
    }),
    v.transform((value): WrittenRule => ({ long: withoutUndefined(value) })),
  );
  return list(byKind({ text: short, mapping: long }, 'a host or a mapping with `host`'), 'hosts or rules');
}

/** An empty list might be meant as none or as all: neither is guessed. */
function notEmpty<T>(schema: v.GenericSchema<unknown, T[]>, of: string) {
  return v.pipe(schema, v.minLength(1, `expected at least one; without the key: all ${of}`));
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

const routePath = v.pipe(
  mapping({
    type: read('prefix, exact or regex', (value) =>
      (['prefix', 'exact', 'regex'] as const).find((type) => type === value),
    ),
    value: text('a path'),
  }),
  v.forward(
    v.check(
      // A star would turn into a pattern of the gate's and let more through than is written.
      ({ type, value }) =>
        type === 'regex' || (parsePathPattern(value) !== undefined && !value.includes('*')),
      'expected a path with one spelling, and without *',
    ),
    ['value'],
  ),
);

/** An entry of `matches`: what it says in one entry must all hold, and one entry is enough. */
const match = mapping({
  paths: v.optional(notEmpty(list(routePath, 'paths'), 'paths')),
  methods: v.optional(notEmpty(list(method, 'methods'), 'methods')),
  headers: v.optional(anything),
});
export type RouteMatch = v.InferOutput<typeof match>;

function route(iKnow: boolean) {
  return mapping({
    host: hostText('allow', iKnow),
    matches: v.optional(notEmpty(list(match, 'matches'), 'requests')),
    auth: v.optional(
      mapping({
        scheme: text('Bearer or token', /^(?:Bearer|token)$/),
        token_ref: text('the name of a variable'),
      }),
    ),
    role: v.optional(anything),
    git: v.optional(anything),
    dlp: v.optional(anything),
  });
}
export type Route = v.InferOutput<ReturnType<typeof route>>;

/** `egress` of a bottle. */
export function egressFields(iKnow: boolean) {
  return mapping({
    log: v.optional(read('0, 1 or 2', (value) => (/^[012]$/.test(value) ? Number(value) : undefined))),
    routes: v.optional(list(route(iKnow), 'routes')),
    presets: v.optional(
      list(
        read(`one of ${presetNames.join(', ')}`, (value) => presetNames.find((preset) => preset === value)),
        'presets',
      ),
    ),
    allow: v.optional(rules('allow', iKnow)),
    deny: v.optional(rules('deny', iKnow)),
  });
}
export type EgressFields = v.InferOutput<ReturnType<typeof egressFields>>;
