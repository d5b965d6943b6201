import type { AnyFailure } from '../../failure.ts';
import type { Message } from '../../terminal/message.ts';

/** Words for each failure of a layer. The compiler refuses a failure that is missing. */
export type Words<F extends AnyFailure> = {
  readonly [One in F as One['tag']]: (fields: One['fields']) => Message;
};

/** Exit codes, as `docs/architecture.md` lists them. */
export const usage = 2;
export const missing = 3;
export const failed = 4;
export const interrupted = 130;
/** What a shell sees of a program that SIGPIPE ended. */
const closedPipe = 141;

/** The hint for what is damaged in the cache or on its way into it, and is made anew. */
export const again =
  'run the command again; if it persists, remove the cache entry: claude-bottle cache prune --all';
export const anotherFeeder = 'try another way out of the engine: --feeder save (or push, export)';

/** The exit code of a command that was told to stop. */
export function codeOfSignal(signal: string): number {
  return signal === 'SIGPIPE' ? closedPipe : interrupted;
}

export function stoppedBy(signal: string): string {
  return signal === 'SIGINT' ? 'interrupted' : `stopped by ${signal}`;
}

export function at(endpoint: string | undefined): string {
  return endpoint === undefined ? '' : ` at ${endpoint}`;
}

export function quote(said: string | undefined): { why?: string } {
  return said === undefined ? {} : { why: `It says: ${said}` };
}
