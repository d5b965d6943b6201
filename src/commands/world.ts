import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Terminal } from '../terminal/terminal.ts';

/** What a command may know of its surroundings; a test hands in its own. */
export interface World {
  readonly terminal: Terminal;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Fires on Ctrl-C, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal;
}

/** `$XDG_CACHE_HOME/claude-bottle`, else `~/.cache/claude-bottle` (XDG Base Directory specification: only absolute paths count). */
export function cacheRoot(environment: World['environment']): string {
  const configured = environment['XDG_CACHE_HOME'] ?? '';
  const base = configured.startsWith('/') ? configured : join(environment['HOME'] ?? homedir(), '.cache');
  return join(base, 'claude-bottle');
}

/** The engine's command: `CLAUDE_BOTTLE_ENGINE`, else `docker`. */
export function engineCommand(environment: World['environment']): string {
  return nonEmpty(environment['CLAUDE_BOTTLE_ENGINE']) ?? 'docker';
}

/** A variable that is set to nothing counts as not set. */
export function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}
