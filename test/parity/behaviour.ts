import type { House } from '../bottles/house.ts';
import type { RunOptions, RunResult } from '../../src/process/run.ts';

/** One thing that a user can see of a bottle, told in a line. */
export interface Behaviour {
  readonly name: string;
  /** What is to be seen, whatever the bottle is made of. */
  readonly expected: string;
  /** What is seen in a machine instead, and the sentence of docs/limitations.md that owns up to it. */
  readonly inMachines?: { readonly expected: string; readonly limitation: string };
  /** In a house of its own, or in one where a bottle runs that others look at too. */
  readonly observe: (place: Place) => Promise<string>;
}

export interface Place {
  readonly house: House;
  /** Runs a bottle for this behaviour alone. */
  start(script: string, flags?: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** A bottle that is there for everyone, with `sleep` as its command. */
  readonly slug: string;
  /** Runs a script in it. */
  exec(script: string, flags?: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** Another house, like this one. */
  another(): Promise<House>;
}

/** A result as a line. */
export function line({ code, stdout }: RunResult): string {
  return `${code}: ${stdout.trim().replaceAll('\n', ' | ')}`;
}
