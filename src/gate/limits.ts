/** How long and how much the gate puts up with. Times in milliseconds. */
export interface Limits {
  /** Connections beyond these get a 503; those that wait idly make room first. */
  readonly connections: number;
  /** An idle connection may wait this long for its next request. */
  readonly idleMs: number;
  /** From the first byte of a head to its last. */
  readonly headMs: number;
  /** Between two reads of a request body. */
  readonly bodyMs: number;
  /** Resolving a name and connecting. */
  readonly dialMs: number;
  /** Between two reads of a response: a model may think for long before its first byte. */
  readonly responseMs: number;
  /** From the 200 of a tunnel until its first bytes have said what it is, where that must be known. */
  readonly greetingMs: number;
  /** A connection with one closed half may be silent this long. */
  readonly halfClosedMs: number;
  /** What still comes in after a refusal is thrown away for this long, so that the refusal is read. */
  readonly lingerMs: number;
}

export const defaultLimits: Limits = {
  connections: 1024,
  idleMs: 120_000,
  headMs: 15_000,
  bodyMs: 120_000,
  dialMs: 15_000,
  responseMs: 30 * 60_000,
  greetingMs: 60_000,
  halfClosedMs: 60_000,
  lingerMs: 1000,
};
