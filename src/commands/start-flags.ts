import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { Mount, Resources } from '../backends/backend.ts';
import { type BackendName, backendNames } from '../backends/names.ts';
import type { Choices } from '../bottles/plan.ts';
import { parseBytes } from '../definitions/size.ts';
import { BadUsage, commandLine } from './command-line.ts';
import { BadValue } from './errors.ts';
import type { World } from './world.ts';

/** What `start` was told, after its command line has been understood. */
export interface StartRequest {
  readonly agent: string | undefined;
  readonly bottles: readonly string[];
  readonly choices: Choices;
  /** `git`: the repository here; `folder`: the directory as it is; `none`: nothing goes in. */
  readonly workspace: 'git' | 'folder' | 'none';
  readonly allow: readonly string[];
  readonly presets: readonly string[];
  readonly iKnow: boolean;
  /** Variables whose values are those of this process. */
  readonly envNames: readonly string[];
  /** Of `--backend`. */
  readonly backend: BackendName | undefined;
  readonly yes: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
  readonly timings: boolean;
  readonly verbose: boolean;
}

interface Flags {
  bottle: string[];
  image?: string;
  dockerfile?: string;
  buildArg: string[];
  target?: string;
  templateImage: boolean;
  copy: boolean;
  /** False for `--no-workspace`. */
  workspace: boolean;
  dirty: boolean;
  uncommitted: boolean;
  mount: string[];
  allow: string[];
  preset: string[];
  iKnow: boolean;
  env: string[];
  user?: string;
  runtime?: string;
  backend?: BackendName;
  cpus?: number;
  memory?: number;
  pids?: number;
  disk?: number;
  headless: boolean;
  prompt?: string;
  bypass: boolean;
  detach: boolean;
  yes: boolean;
  dryRun: boolean;
  json: boolean;
  timings: boolean;
  verbose: boolean;
}

const help = 'claude-bottle start --help';

export function defineStart(world: World): Command {
  return commandLine('start', world)
    .description(
      'Runs an agent in a new bottle: on a copy of the git repository here, with no way out but the gate. When it\nends, its commits are the branch bottle/<slug> of the repository, and nothing else is left.',
    )
    .usage('[options] [agent] [-- command...]')
    .argument('[agent]', 'claude, codex, shell, demo, or the name of an agent file')
    .argument('[command...]', 'what to run instead of the agent’s own command; after --')
    .option('--bottle <name>', 'a bottle file to run it in; may be repeated, later ones win', collect, [])
    .option('--image <reference>', 'an image that the engine has, instead of building one')
    .option('--dockerfile <file>', 'the Dockerfile (default: ./Dockerfile, else the agent’s own)')
    .option('--build-arg <name=value>', 'a build argument; may be repeated', collect, [])
    .option('--target <stage>', 'the stage of the Dockerfile to build')
    .option('--template-image', 'the agent’s built-in image, although there is a ./Dockerfile', false)
    .option('--dirty', 'take uncommitted changes along', false)
    .option('--copy', 'this is no git repository: take the folder as it is', false)
    .option('--no-workspace', 'take nothing along')
    .option('--uncommitted', 'at the end, what is not committed comes out as one more commit', false)
    .option('--mount <path[:ro]>', 'show a path of this host in the bottle; may be repeated', collect, [])
    .option('--allow <host[:port]>', 'let the bottle reach this host; may be repeated', collect, [])
    .option('--preset <name>', 'let it reach what a preset lists; may be repeated', collect, [])
    .option('--i-know', 'rules that open the gate to names anybody can get are meant', false)
    .option('--env <name>', 'give it this variable, with the value it has here; may be repeated', collect, [])
    .option('--user <user>', 'run as this user of the image')
    .option('--cpus <number>', 'processor cores', positive)
    .option('--memory <size>', 'memory, for example 4G', bytes)
    .option('--pids <number>', 'processes and threads', whole)
    .option('--disk <size>', 'what it may write, for example 20G', bytes)
    .addOption(
      new Option(
        '--backend <name>',
        'smolmachines: a microVM with a kernel of its own (default where it works); docker: a container',
      ).choices(backendNames),
    )
    .option('--runtime <name>', 'an OCI runtime of the engine, for a container (default: runsc if it has it)')
    .option('--headless', 'no terminal and no questions: the agent works on --prompt and ends', false)
    .option('--prompt <text>', 'what a headless agent is to do')
    .option('--no-bypass', 'leave the agent’s own permission questions on')
    .option('-d, --detach', 'go on in the background; claude-bottle attach comes back to it', false)
    .option('-y, --yes', 'start without asking', false)
    .option('--dry-run', 'show the plan and stop', false)
    .option('--timings', 'what took how long', false)
    .option('--verbose', "the engine's output while it builds", false)
    .option('--json', 'with --dry-run the plan, with --detach the bottle, as one JSON document', false);
}

/** Makes sense of the command line. @throws BadUsage, BadValue */
export function startRequest(
  command: Command,
  argv: readonly string[],
  world: World,
  terminal: { readonly stdin: boolean; readonly stdout: boolean },
): StartRequest {
  const flags = command.opts<Flags>();
  const dashes = argv.indexOf('--');
  const own = dashes < 0 ? [] : argv.slice(dashes + 1);
  const named = command.args.slice(0, command.args.length - own.length);
  const [agent, ...rest] = named;
  if (rest.length > 0) {
    throw usage(`${JSON.stringify(rest[0])} is one word too many; a command goes after --`);
  }
  if (flags.headless && flags.prompt === undefined && own.length === 0) {
    throw usage('--headless needs to know what to do: --prompt TEXT');
  }
  if (flags.prompt !== undefined && !flags.headless) throw usage('--prompt goes with --headless');
  if (flags.image !== undefined && flags.dockerfile !== undefined) {
    throw usage('--image names an image that exists, so --dockerfile has nothing to build');
  }
  if (flags.copy && !flags.workspace) throw usage('--copy and --no-workspace exclude each other');
  if (flags.json && !flags.dryRun && !flags.detach) {
    throw usage('--json goes with --dry-run or --detach: otherwise standard output is the agent’s');
  }
  const attends = !flags.headless && (flags.detach || (terminal.stdin && terminal.stdout));
  return {
    agent,
    bottles: flags.bottle,
    workspace: !flags.workspace ? 'none' : flags.copy ? 'folder' : 'git',
    allow: flags.allow,
    presets: flags.preset,
    iKnow: flags.iKnow,
    envNames: flags.env.map(envName),
    backend: flags.backend,
    yes: flags.yes || flags.headless,
    dryRun: flags.dryRun,
    json: flags.json,
    timings: flags.timings,
    verbose: flags.verbose,
    choices: {
      ...optional('image', flags.image),
      ...optional('dockerfile', flags.dockerfile === undefined ? undefined : resolve(flags.dockerfile)),
      ...optional('target', flags.target),
      buildArgs: Object.fromEntries(flags.buildArg.map((text) => buildArg(text, world))),
      templateImage: flags.templateImage,
      command: own,
      ...optional('user', flags.user),
      ...optional('runtime', flags.runtime),
      resources: resourcesOf(flags),
      mounts: flags.mount.map(mountOf),
      terminal: attends,
      detach: flags.detach,
      dirty: flags.dirty,
      uncommitted: flags.uncommitted,
      bypass: flags.bypass,
      ...optional('headlessPrompt', flags.headless ? flags.prompt : undefined),
    },
  };
}

function resourcesOf({ cpus, memory, pids, disk }: Flags): Partial<Resources> {
  return {
    ...optional('cpus', cpus),
    ...optional('memoryBytes', memory),
    ...optional('pids', pids),
    ...optional('diskBytes', disk),
  };
}

/** `{ [name]: value }`, or nothing: exact optional properties do not take an undefined one. */
function optional<Name extends string, Value>(
  name: Name,
  value: Value | undefined,
): Partial<Record<Name, Value>> {
  return value === undefined ? {} : ({ [name]: value } as Partial<Record<Name, Value>>);
}

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError('It takes a number above zero.');
  return value;
}

function whole(text: string): number {
  const value = positive(text);
  if (!Number.isInteger(value)) throw new InvalidArgumentError('It takes a whole number.');
  return value;
}

function bytes(text: string): number {
  const value = parseBytes(text);
  if (value === undefined || value <= 0)
    throw new InvalidArgumentError('It takes a size such as 512M or 4G.');
  return value;
}

/** `NAME=VALUE`, or `NAME` for the value that the variable of that name has here. */
function buildArg(text: string, { environment }: World): [string, string] {
  const [, name, given] = /^([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?$/s.exec(text) ?? [];
  const value = given ?? environment[name ?? ''];
  if (name !== undefined && value !== undefined) return [name, value];
  // What stands behind the first "=" may be anything, so it is not repeated.
  const said = text.split('=', 1)[0] ?? '';
  throw new BadValue({
    help,
    what: '--build-arg',
    value: said,
    expected: 'NAME=VALUE, or the NAME of a variable that is set',
  });
}

/** A name only: a value on a command line can be read by every user of this host. */
function envName(text: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(text)) return text;
  throw new BadValue({
    help,
    what: '--env',
    value: text.split('=', 1)[0] ?? '',
    expected: 'the NAME of a variable that is set here; a value on a command line could be read by others',
  });
}

/** `PATH`, `PATH:ro` or `PATH:TARGET[:ro]`. */
function mountOf(text: string): Mount {
  const [, source, target, mode] = /^([^:]+)(?::(\/[^:]*))?(?::(ro|rw))?$/.exec(text) ?? [];
  if (source === undefined) {
    throw new BadValue({
      help,
      what: '--mount',
      value: text,
      expected: 'PATH[:TARGET][:ro], TARGET absolute',
    });
  }
  const path = resolve(source);
  if (!existsSync(path)) {
    throw new BadValue({ help, what: '--mount', value: path, expected: 'a path that is there' });
  }
  return { source: path, target: target ?? path, readOnly: mode === 'ro' };
}

function usage(problem: string): BadUsage {
  return new BadUsage({ problem, hint: help });
}
