import type { Note, Observer, StepName, StepReport } from '../smolmachine/conversion.ts';
import type { Packed } from '../smolmachine/pack.ts';
import type { PackProgress } from '../smolvm/output.ts';
import { type PhaseNames, Progress, type Timing } from '../terminal/progress.ts';
import { renderTable } from '../terminal/table.ts';
import { type Terminal, withoutControls } from '../terminal/terminal.ts';
import { formatDuration } from '../terminal/units.ts';
import { explain } from './failures.ts';

const names: Readonly<Record<StepName, PhaseNames>> = {
  build: { doing: 'building the image', done: 'built the image' },
  inspect: { doing: 'looking at the image', done: 'looked at the image' },
  feed: { doing: 'taking the layers out of the engine', done: 'took the layers out of the engine' },
  flatten: { doing: 'flattening the layers', done: 'flattened the layers' },
  registry: { doing: 'starting a registry container', done: 'started a registry container' },
  push: { doing: 'pushing the image', done: 'pushed the image' },
  pack: { doing: 'packing with smolvm', done: 'packed with smolvm' },
  layout: { doing: 'writing the OCI layout', done: 'wrote the OCI layout' },
  verify: { doing: 'verifying the artifact', done: 'verified the artifact' },
};

/** Shows a pack on the terminal as it goes. */
export class PackWatcher implements Observer {
  readonly #progress: Progress;
  readonly #terminal: Terminal;
  readonly #showsTimings: boolean;
  readonly #started = performance.now();

  /** @param progress where this is a part of something larger, whose progress it joins. */
  constructor(
    terminal: Terminal,
    options: { readonly timings: boolean; readonly verbose: boolean },
    progress?: Progress,
  ) {
    // Build output would be overdrawn by a line that redraws itself.
    this.#terminal = options.verbose ? { ...terminal, animated: false } : terminal;
    this.#progress = progress ?? new Progress(this.#terminal);
    this.#showsTimings = options.timings;
  }

  get timings(): readonly Timing[] {
    return this.#progress.timings.map(({ phase, ms }) => ({ phase, ms: Math.round(ms) }));
  }

  step<T>(name: StepName, work: (report: StepReport) => Promise<T>): Promise<T> {
    return this.#progress.phase(names[name], (update) =>
      work(({ pack, detail, ...status }) => {
        const note = pack === undefined ? detail : packNote(pack);
        update({ ...status, ...(note === undefined ? {} : { note }) });
      }),
    );
  }

  buildLine(line: string): void {
    this.#terminal.stderr.write(`  ${withoutControls(line)}\n`);
  }

  note(note: Note): void {
    switch (note.kind) {
      case 'waiting':
        return this.#progress.say(`· waiting for process ${note.pid}, which is converting the same image`);
      case 'damaged':
        return this.#progress.warn(`${note.path} is damaged (${note.reason}): making it anew`);
      case 'feeder':
        if (this.#showsTimings)
          this.#progress.say(`· feeder: ${note.order.join(', then ')} (${note.reason})`);
        return undefined;
      case 'fallback': {
        const then = note.to === undefined ? '' : `; trying ${note.to}`;
        return this.#progress.warn(`${note.from} did not work: ${explain(note.error).what}${then}`);
      }
      case 'may-remain':
        return this.#progress.warn(note.what);
      case 'merged-layers':
        return this.#progress.warn(
          `the registry container serves ${note.layers} layers, and smolvm's merge can bring deleted files back; --registry embedded serves one`,
        );
    }
  }

  /** The last word, and the table that `--timings` asked for. */
  finish(packed: Packed): void {
    if (packed.cached) this.#progress.say('✓ in the cache already');
    if (!this.#showsTimings) return;
    const total = performance.now() - this.#started;
    const rows = [...this.timings, { phase: 'in all', ms: total }].map(({ phase, ms }) => [
      phase,
      formatDuration(ms),
    ]);
    this.#terminal.stderr.write(renderTable(['phase', 'time'], rows, ['left', 'right']));
  }
}

function packNote(progress: PackProgress): string {
  switch (progress.phase) {
    case 'pulling':
      return progress.percent === undefined ? 'pulling' : `pulling ${progress.percent} %`;
    case 'merging':
      return `merging ${progress.layers} layers`;
    case 'starting':
      return 'starting its machine';
    case 'pulled':
    case 'collecting':
    case 'exporting':
    case 'assembling':
    case 'packed':
      return progress.phase;
  }
}
