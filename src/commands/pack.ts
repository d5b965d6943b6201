import { lstat, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { Engine } from '../engine/engine.ts';
import { Cache } from '../smolmachine/cache.ts';
import type { PackRequest } from '../smolmachine/conversion.ts';
import type { CacheEntry, EntryForm } from '../smolmachine/entry.ts';
import { reapLeftovers } from '../smolmachine/leftovers.ts';
import { pack } from '../smolmachine/pack.ts';
import { Interrupted } from '../process/errors.ts';
import { findSmolvm } from '../smolvm/find.ts';
import { BadUsage, commandLine, parse } from './command-line.ts';
import { BadValue, OutputExists, OutputUnwritable, PackInterrupted } from './errors.ts';
import { PackWatcher } from './pack-watcher.ts';
import { cachePath, engineCommand, nonEmpty, registryKind, type World } from './world.ts';

interface PackFlags {
  image?: string;
  dockerfile?: string;
  buildArg: string[];
  target?: string;
  format: EntryForm;
  output?: string;
  registry?: 'embedded' | 'container';
  feeder: PackRequest['feeder'];
  /** False for `--no-cache`. */
  cache: boolean;
  timings: boolean;
  verbose: boolean;
  json: boolean;
}

function define(world: World): Command {
  return commandLine('pack', world)
    .description(
      'Turns a Dockerfile, or an image that the engine has, into a verified, cached .smolmachine that smolvm boots.\nPrints its path.',
    )
    .argument('[directory]', 'what to build: a directory with a Dockerfile (default: the current one)')
    .option('--image <reference>', 'pack this image instead of building one')
    .option('--dockerfile <file>', 'the Dockerfile (default: Dockerfile in the directory)')
    .option('--build-arg <name=value>', 'a build argument; may be repeated', collect, [])
    .option('--target <stage>', 'the stage of the Dockerfile to build')
    .addOption(
      new Option(
        '--format <form>',
        'smolmachine (default), or oci: a flattened OCI layout, which needs no smolvm',
      )
        .choices(['smolmachine', 'oci'])
        .default('smolmachine'),
    )
    .option('--output <path>', 'also copy the result there; what exists is never overwritten')
    .addOption(
      new Option('--registry <kind>', 'where smolvm pulls from: embedded (default), or container').choices([
        'embedded',
        'container',
      ]),
    )
    .addOption(
      new Option('--feeder <way>', 'how layers leave the engine: auto (default), push, save or export')
        .choices(['auto', 'push', 'save', 'export'])
        .default('auto'),
    )
    .option('--no-cache', "build without the engine's layer cache and convert anew")
    .option('--timings', 'what took how long, and which feeder was chosen why', false)
    .option('--verbose', "the engine's output while it builds", false)
    .option('--json', 'print one JSON document instead of the path', false);
}

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

/** `claude-bottle pack`. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const command = define(world);
  if (!parse(command, argv)) return 0;
  const flags = command.opts<PackFlags>();
  const request = requestOf(flags, command.args[0], world);
  const output = flags.output === undefined ? undefined : await freshOutput(flags.output);

  const watcher = new PackWatcher(world.terminal, { timings: flags.timings, verbose: flags.verbose });
  // Each takes a moment and none needs the others.
  const smolvm = request.form === 'oci' ? undefined : findSmolvm(world.environment, { signal: world.signal });
  const [cache, engine] = await Promise.all([
    openCache(world),
    Engine.connect({ command: engineCommand(world.environment), signal: world.signal }),
    smolvm,
  ]);
  const packed = await orInterrupted(
    pack(
      { ...request, ...(flags.verbose ? { onBuildLine: (line: string) => watcher.buildLine(line) } : {}) },
      { engine, cache, smolvm, observer: watcher, signal: world.signal },
    ),
  );
  watcher.finish(packed);

  const entry =
    output === undefined
      ? packed.entry
      : await orInterrupted(copied(cache, packed.entry, output, world.signal), {
          kept: packed.entry.path,
          output,
        });
  const path = output ?? entry.path;
  const document = { path, cached: packed.cached, ...entry.record, timings: watcher.timings };
  world.terminal.stdout.write(flags.json ? `${JSON.stringify(document, undefined, 2)}\n` : `${path}\n`);
  return 0;
}

/** Says of a signal what it undid. What failed while that was undone says so itself. */
async function orInterrupted<T>(
  work: Promise<T>,
  made: { readonly kept?: string; readonly output?: string } = {},
): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    throw new PackInterrupted({ signal: error.fields.signal, ...made });
  }
}

async function openCache(world: World): Promise<Cache> {
  const cache = await Cache.open(cachePath(world));
  await reapLeftovers(cache.tree, world.signal);
  return cache;
}

/** @returns the entry that was copied: another run may have made it anew meanwhile. */
async function copied(
  cache: Cache,
  entry: CacheEntry,
  output: string,
  signal: AbortSignal,
): Promise<CacheEntry> {
  const { copyOut } = await import('./pack-output.ts');
  return copyOut(cache, entry, output, signal);
}

function requestOf(flags: PackFlags, directory: string | undefined, world: World): PackRequest {
  const registry = registryOf(flags, world);
  const rest = { form: flags.format, registry, feeder: flags.feeder, anew: !flags.cache } as const;
  if (flags.image !== undefined) {
    const clash = ['dockerfile', 'target'] as const;
    const other =
      directory ?? clash.map((name) => flags[name] && `--${name}`).find((flag) => flag !== undefined);
    if (other !== undefined || flags.buildArg.length > 0) {
      throw usage(`--image names an image that exists, so ${other ?? '--build-arg'} has nothing to build`);
    }
    return { ...rest, source: { kind: 'image', reference: required('--image', flags.image) } };
  }
  const context = resolve(directory ?? '.');
  return {
    ...rest,
    source: {
      kind: 'build',
      build: {
        context,
        buildArgs: flags.buildArg.map((text) => buildArg(text, world)),
        noCache: !flags.cache,
        tag: nonEmpty(world.environment.CLAUDE_BOTTLE_IMAGE) ?? 'claude-bottle:latest',
        ...(flags.dockerfile === undefined ? {} : { dockerfile: resolve(flags.dockerfile) }),
        ...(flags.target === undefined ? {} : { target: flags.target }),
      },
    },
  };
}

function registryOf(flags: PackFlags, world: World): PackRequest['registry'] {
  const named = flags.registry ?? registryKind(world);
  if (flags.format === 'oci') {
    if (flags.registry === 'container')
      throw usage(
        'an OCI layout is written without a registry, so --registry container does not go with --format oci',
      );
    return 'embedded';
  }
  if (named === 'container' && flags.feeder !== 'auto') {
    throw usage('the container registry takes the image by push only, so --feeder does not go with it');
  }
  return named;
}

/** `NAME=VALUE`, or `NAME` for the value that the variable of that name has. */
function buildArg(text: string, { environment }: World): { name: string; value: string } {
  const [, name, given] = /^([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?$/s.exec(text) ?? [];
  const value = given ?? environment[name ?? ''];
  if (name !== undefined && value !== undefined) return { name, value };
  // What stands behind the first "=" may be anything, so it is not repeated.
  const said = text.split('=', 1)[0] ?? '';
  throw new BadValue({
    help: 'claude-bottle pack --help',
    what: '--build-arg',
    value: said,
    expected: 'NAME=VALUE, or the NAME of a variable that is set',
  });
}

function required(flag: string, value: string): string {
  if (value.trim() === '' || value.startsWith('-'))
    throw new BadValue({
      help: 'claude-bottle pack --help',
      what: flag,
      value,
      expected: 'an image reference or id',
    });
  return value;
}

function usage(problem: string): BadUsage {
  return new BadUsage({ problem, hint: 'claude-bottle pack --help' });
}

/** Finds out before anything heavy whether the output can be written. */
async function freshOutput(path: string): Promise<string> {
  const output = resolve(path);
  const there = await lstat(output).catch(() => undefined);
  if (there !== undefined) throw new OutputExists({ path: output });
  const folder = await stat(dirname(output)).catch(() => undefined);
  if (folder?.isDirectory() !== true) throw new OutputUnwritable({ path: output, code: 'no such directory' });
  return output;
}
