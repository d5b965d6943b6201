import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { BadValue } from './errors.ts';
import { cacheRoot } from '../smolmachine/cache-tree.ts';
import type { Terminal } from '../terminal/terminal.ts';

/** What a command may know of its surroundings; a test hands in its own. */
export interface World {
  readonly terminal: Terminal;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Fires on Ctrl-C, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal;
}

/** Where this user's cache is. */
export function cachePath({ environment }: World): string {
  return cacheRoot(environment, environment['HOME'] ?? homedir());
}

/** The engine's command: `CLAUDE_BOTTLE_ENGINE`, else `docker`. A path is absolute: not all of it is run from here. */
export function engineCommand(environment: World['environment']): string {
  const named = nonEmpty(environment['CLAUDE_BOTTLE_ENGINE']) ?? 'docker';
  return named.includes('/') ? resolve(named) : named;
}

/** A variable that is set to nothing counts as not set. */
export function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}

/** Which registry smolvm pulls from: `CLAUDE_BOTTLE_REGISTRY`, else ours. @throws BadValue */
export function registryKind({ environment }: World): 'embedded' | 'container' {
  const what = 'CLAUDE_BOTTLE_REGISTRY';
  const named = nonEmpty(environment[what]) ?? 'embedded';
  if (named === 'embedded' || named === 'container') return named;
  throw new BadValue({
    what,
    value: named,
    expected: 'embedded or container',
    help: 'claude-bottle pack --help',
  });
}
