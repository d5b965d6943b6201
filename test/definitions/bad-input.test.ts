import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { matter, problemsOf } from './shelf.ts';

// What is wrong with a file is said by line, with what was expected, and never with a value.

/** One line that the file's problems must be, as a pattern; the front matter's first line is the file's second. */
type Case = readonly [front: string, ...says: RegExp[]];

const bottles: readonly Case[] = [
  // Keys
  ['envs: {}', /^2 unknown key `envs` \(did you mean `env`\?\); there are extends, env, /],
  ['zzz: 1', /^2 unknown key `zzz`; there are /],
  ['skills: [x]', /^2 `skills` is a key of agents$/],
  ['bottle: x', /^2 `bottle` is a key of agents$/],
  ['template: claude', /^2 `template` is a key of agents; here it is `agent_provider\.template`$/],
  ['git: {}', /^2 `git`: is now `git-gate`$/],
  ['tokens: {}', /^2 `tokens`: is now `egress\.routes\[\]\.auth`$/],
  ['cred_proxy: {}', /^2 `cred_proxy`: is now `egress\.routes`$/],
  ['runtime: x', /^2 `runtime`: is no more/],
  ['ssh: x', /^2 `ssh`: is now `git-gate\.repos`$/],
  ['resources:\n  cpu: 1', /^3 unknown key `resources\.cpu` \(did you mean `cpus`\?\); there are cpus, /],
  ['egress:\n  routes:\n    - host: a.example\n      path_allowlist: []', /^5 .*is now `matches`$/],
  ['constructor: x', /^2 unknown key `constructor`/],
  ['toString: x', /^2 unknown key `toString`/],
  // Kinds
  ['env: []', /^2 `env`: expected a mapping of variables$/],
  ['env:', /^2 `env`: expected a mapping of variables$/],
  ['env:\n  A: [x]', /^3 `env\.A`: expected a text without NUL/],
  ['env:\n  A:', /^3 `env\.A`: expected a text.*nothing is written as ''$/],
  ['env:\n  1A: x', /^3 `env\.1A`: a key is expected to be the name of a variable/],
  ['env:\n  A-B: x', /^3 `env\.A-B`: a key is expected/],
  ['env:\n  A: "x\\0y"', /^3 `env\.A`: expected a text without NUL/],
  ['extends: {}', /^2 `extends`: expected a name or a list of names$/],
  ['extends: [A]', /^2 `extends`: expected a name: lower-case/],
  ['extends: ../x', /^2 `extends`: expected a name: lower-case/],
  ['extends:\n  - x\n  - [y]', /^4 `extends`: expected a name/],
  ['supervise: maybe', /^2 `supervise`: expected true or false$/],
  [
    'command: sleep 1',
    /^2 `command`: expected a list of texts, .*`command: \[PROGRAM, ARGUMENT\]`; nothing is split/,
  ],
  ['command: [[a]]', /^2 `command`: expected a text/],
  ['user: "a b"', /^2 `user`: expected a user/],
  ['user: -x', /^2 `user`: expected a user/],
  ['image: []', /^2 `image`: expected the name of an image, or a mapping/],
  ['image: --privileged', /^2 `image`: expected the name of an image$/],
  ['image: { dockerfile: "" }', /^2 `image\.dockerfile`: expected a path$/],
  ['image: { dockerfile: ~other/x }', /^2 `image\.dockerfile`: expected a path$/],
  ['image: { build_args: { "a b": c } }', /^2 `image\.build_args\.a b`: a key is expected/],
  ['image: { target: --x }', /^2 `image\.target`: expected the name of a stage$/],
  [
    'image: x\nagent_provider:\n  dockerfile: D',
    /^4 `agent_provider\.dockerfile` and `image` \(line 2\) both say/,
  ],
  ['resources: { cpus: 0 }', /^2 `resources\.cpus`: expected a number/],
  ['resources: { cpus: -1 }', /^2 `resources\.cpus`: expected/],
  ['resources: { memory: lots }', /^2 `resources\.memory`: expected a size such as 4G/],
  ['resources: { memory: 0 }', /^2 `resources\.memory`: expected/],
  ['resources: { memory: 99999999T }', /^2 `resources\.memory`: expected/],
  ['resources: { pids: 1.5 }', /^2 `resources\.pids`: expected a whole number/],
  ['resources: { disk: [] }', /^2 `resources\.disk`: expected/],
  ['agent_provider: claude', /^2 `agent_provider`: expected a mapping with the keys template, /],
  [
    'agent_provider: { template: pi }',
    /^2 `agent_provider\.template`: expected one of claude, codex, shell, demo$/,
  ],
  ['backend: podman', /^2 `backend`: expected one of smolmachines, docker$/],
  ['backend: [docker]', /^2 `backend`: expected one of smolmachines, docker$/],
  ['agent_provider: { forward_host_credentials: 1 }', /expected true or false$/],
  ['git-gate: { user: { name: "a <b>" } }', /^2 `git-gate\.user\.name`: expected a text of one line/],
  ['git-gate: { user: { email: "a\\nb" } }', /^2 `git-gate\.user\.email`: expected/],
  // Egress
  ['egress: [a]', /^2 `egress`: expected a mapping with the keys log, routes, presets, allow, deny$/],
  ['egress:\n  allow: a.example', /^3 `egress\.allow`: expected a list of hosts or rules$/],
  ['egress:\n  allow:', /^3 `egress\.allow`: expected a list/],
  [
    'egress:\n  allow:\n    - https://a.example/',
    /^4 `egress\.allow`: expected a host: .*no scheme and no path/,
  ],
  ['egress:\n  allow:\n    - a.example:99999', /^4 `egress\.allow`: expected a host/],
  [
    'egress:\n  allow:\n    - "*"',
    /^4 `egress\.allow`: this pattern matches names that anybody can get.*--i-know$/,
  ],
  ['egress:\n  allow:\n    - ok.example\n    - "*.com"', /^5 .*--i-know$/],
  ['egress:\n  allow:\n    - host: "**.github.io"', /^4 `egress\.allow\.host`: this pattern/],
  ['egress:\n  allow:\n    - [a]', /^4 `egress\.allow`: expected a host or a mapping with `host`$/],
  [
    'egress:\n  allow:\n    - { port: 1, host: a.example }',
    /unknown key `egress\.allow\.port` \(did you mean `ports`\?\)/,
  ],
  ['egress:\n  allow:\n    - { ports: [1] }', /^4 `egress\.allow\.host`: expected a host/],
  [
    'egress:\n  allow:\n    - host: a.example\n      ports: [0]',
    /^5 `egress\.allow\.ports`: expected a port: 1 to 65535$/,
  ],
  [
    'egress:\n  allow:\n    - host: a.example\n      ports: []',
    /^5 `egress\.allow\.ports`: expected at least one/,
  ],
  [
    'egress:\n  allow:\n    - host: a.example\n      ports: all',
    /^5 `egress\.allow\.ports`: expected `any` or/,
  ],
  [
    'egress:\n  allow:\n    - host: a.example\n      paths: [/../x]',
    /^5 `egress\.allow\.paths`: expected a path with one spelling/,
  ],
  [
    'egress:\n  allow:\n    - host: a.example\n      paths: []',
    /^5 `egress\.allow\.paths`: expected at least one/,
  ],
  [
    'egress:\n  allow:\n    - host: a.example\n      methods: []',
    /^5 `egress\.allow\.methods`: expected at least one/,
  ],
  [
    'egress:\n  allow:\n    - host: a.example\n      methods: [G-T]',
    /^5 `egress\.allow\.methods`: expected a method/,
  ],
  [
    'egress:\n  allow:\n    - host: a.example\n      reach: [moon]',
    /^5 `egress\.allow\.reach`: expected one of public, /,
  ],
  ['egress:\n  deny:\n    - 0x7f.1', /^4 `egress\.deny`: expected a host/],
  ['egress:\n  presets: [npm, everything]', /^3 `egress\.presets`: expected one of none, anthropic, /],
  ['egress:\n  log: 3', /^3 `egress\.log`: expected 0, 1 or 2$/],
  [
    'egress:\n  routes:\n    - matches: []',
    /^4 `egress\.routes\.host`: expected a host/,
    /^4 `egress\.routes\.matches`: expected at least one/,
  ],
  ['egress:\n  routes:\n    - host: "*.com"', /^4 `egress\.routes\.host`: this pattern matches names/],
  [
    'egress:\n  routes:\n    - host: a.example\n      matches:\n        - paths: []',
    /^6 `egress\.routes\.matches\.paths`: expected at least one/,
  ],
  [
    'egress:\n  routes:\n    - host: a.example\n      matches:\n        - methods: []',
    /^6 .*expected at least one/,
  ],
  [
    'egress:\n  routes:\n    - host: a.example\n      matches:\n        - paths: [{ value: /a }]',
    /^6 .*paths\.type`: expected prefix, exact or regex$/,
  ],
  [
    'egress:\n  routes:\n    - host: a.example\n      matches:\n        - paths: [{ type: exact, value: /a/* }]',
    /^6 .*paths\.value`: expected a path with one spelling, and without \*$/,
  ],
  [
    'egress:\n  routes:\n    - host: a.example\n      matches:\n        - paths: [{ type: prefix, value: /a/* }]',
    /^6 .*without \*$/,
  ],
  [
    'egress:\n  routes:\n    - host: a.example\n      matches:\n        - paths: [{ type: prefix, value: a }]',
    /^6 .*expected a path/,
  ],
  [
    'egress:\n  routes:\n    - host: a.example\n      matches:\n        - query: x',
    /^6 unknown key `egress\.routes\.matches\.query`/,
  ],
  [
    'egress:\n  routes:\n    - host: a.example\n      auth: { token: x }',
    /scheme`: expected/,
    /token_ref`: expected/,
    /^5 unknown key `egress\.routes\.auth\.token`/,
  ],
  // All of them, by line
  [
    'supervise: x\nenv:\n  A-: y\nenvs: 1\nresources:\n  cpus: many\n  pidz: 1\negress:\n  allow: [/]',
    /^2 `supervise`/,
    /^4 `env\.A-`/,
    /^5 unknown key `envs`/,
    /^7 `resources\.cpus`/,
    /^8 unknown key `resources\.pidz`/,
    /^10 `egress\.allow`/,
  ],
];

const agents: readonly Case[] = [
  [
    'skils: [x]',
    /^2 unknown key `skils` \(did you mean `skills`\?\); there are bottle, template, command, skills, /,
  ],
  ['env: {}', /^2 `env` is a key of bottles, not of agents$/],
  ['egress: {}', /^2 `egress` is a key of bottles, not of agents$/],
  ['backend: docker', /^2 `backend` is a key of bottles, not of agents$/],
  ['git-gate: { repos: {} }', /^2 `git-gate\.repos`: belongs to a bottle, not to an agent/],
  ['skills: review', /^2 `skills`: expected a list of names of skills$/],
  ['skills: [../../.ssh]', /^2 `skills`: expected the name of a skill/],
  ['skills: [.hidden]', /^2 `skills`: expected the name of a skill/],
  // What no agent would take.
  ['skills:\n  - good-one\n  - Review', /^4 `skills`: expected the name of a skill: lower-case/],
  ['skills: [a_b]', /^2 `skills`: expected the name of a skill/],
  ['skills: [a--b]', /^2 `skills`: expected the name of a skill/],
  ['skills: [a/b]', /^2 `skills`: expected the name of a skill/],
  ['command: claude -p', /^2 `command`: expected a list of texts/],
  ['template: vim', /^2 `template`: expected one of claude, codex, shell, demo$/],
  ['bottle: 3', /^2 `bottle`: expected a name/],
];

for (const [kind, cases] of [
  ['bottles', bottles],
  ['agents', agents],
] as const) {
  describe(kind, () => {
    for (const [front, ...says] of cases) {
      test(front, async () => {
        const problems = await problemsOf(kind, matter(front));
        assert.equal(problems.length, says.length, problems.join('\n'));
        for (const [index, pattern] of says.entries()) assert.match(problems[index]!, pattern);
      });
    }
  });
}
