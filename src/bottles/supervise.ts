import { setFlagsFromString } from 'node:v8';
import { runSupervisor } from './supervisor.ts';

// All is loaded: from here on V8 may optimise what is hot (bin/unoptimised.cjs).
setFlagsFromString('--opt');
setFlagsFromString('--maglev');

await runSupervisor();
