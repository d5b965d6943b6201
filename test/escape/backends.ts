import type { Candidate } from './candidate.ts';
import { containers } from './containers.ts';
import { machines } from './machines.ts';

/** A further backend is one more line. */
export const candidates: readonly Candidate[] = [...containers, machines];
