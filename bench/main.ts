import { benchGate } from './gate.ts';
import { benchPack } from './pack.ts';
import { parseOptions, usage } from './options.ts';
import { benchStart } from './start.ts';
import { benchStartUp } from './start-up.ts';

const [name = '', ...args] = process.argv.slice(2);
const bench = {
  pack: benchPack,
  start: benchStart,
  'start-up': benchStartUp,
  gate: benchGate,
}[name];
if (bench === undefined) {
  process.stderr.write(usage);
  process.exitCode = 2;
} else {
  const interruption = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => interruption.abort(new Error(`interrupted by ${signal}`)));
  }
  try {
    // 1 for a goal that was missed, so that a script can tell.
    process.exitCode = (await bench(parseOptions(args), interruption.signal)) ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = interruption.signal.aborted ? 130 : 2;
  }
}
