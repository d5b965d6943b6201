import { fromMessage } from '../bottles/line.ts';
import type { Ending, LaunchOrder, StepName, SupervisorEvent } from '../bottles/messages.ts';
import type { Supervisor } from '../bottles/supervisor-client.ts';
import { Interrupted } from '../process/errors.ts';
import { runForeground } from '../process/foreground.ts';
import { type PhaseNames, Progress } from '../terminal/progress.ts';
import { renderTable } from '../terminal/table.ts';
import { withoutControls } from '../terminal/terminal.ts';
import { formatDuration } from '../terminal/units.ts';
import { StartInterrupted } from './errors.ts';
import { explain } from './failures.ts';
import { describeEnding, describeWork } from './ending-view.ts';
import type { StartRequest } from './start-flags.ts';
import type { Prepared } from './start-plan.ts';
import type { Collected } from '../workspace/collect.ts';
import { stagingNote } from './words/workspace.ts';
import type { World } from './world.ts';

const names: Readonly<Record<StepName, PhaseNames>> = {
  create: { doing: 'making the bottle', done: 'made the bottle' },
  fill: { doing: 'filling it', done: 'filled it' },
  start: { doing: 'starting it', done: 'started it' },
  seal: { doing: 'proving the fence', done: 'proved the fence' },
  collect: { doing: 'taking the work out', done: 'took the work out' },
  remove: { doing: 'removing the bottle', done: 'removed the bottle' },
};

/** One `start` between its yes and its end: what the supervisor tells, and who has the terminal. */
export class StartSession implements AsyncDisposable {
  readonly progress: Progress;
  readonly #supervisor: Supervisor;
  readonly #prepared: Prepared;
  readonly #request: StartRequest;
  readonly #world: World;
  readonly #began = performance.now();
  readonly #timings: { phase: string; ms: number }[] = [];
  #work: Collected | undefined;
  #isOver = false;
  #attached: Promise<void> = Promise.resolve();
  readonly #over = new AbortController();
  #isAttached = false;
  #isLetGo = false;
  #hasRun = false;

  constructor(supervisor: Supervisor, prepared: Prepared, request: StartRequest, world: World) {
    this.#supervisor = supervisor;
    this.#prepared = prepared;
    this.#request = request;
    this.#world = world;
    this.progress = new Progress(world.terminal);
  }

  /** @returns the exit code of the agent. @throws what went wrong */
  async run(order: LaunchOrder): Promise<number> {
    const { signal } = this.#world;
    const onSignal = () => this.#supervisor.tell({ do: 'abort' });
    signal.addEventListener('abort', onSignal, { once: true });
    try {
      signal.throwIfAborted();
      this.#supervisor.order(order);
      return order.detach ? await this.#untilRunning() : await this.#untilEnded();
    } finally {
      signal.removeEventListener('abort', onSignal);
    }
  }

  /** Nothing of a bottle that was not told to go on outlives this command. */
  async [Symbol.asyncDispose](): Promise<void> {
    // Whoever is attached would wait for a bottle that has lost its supervisor.
    this.#over.abort();
    await this.#attached.catch(() => undefined);
    if (this.#isOver) this.#supervisor.release();
    else await this.#supervisor.dismiss();
  }

  async #untilRunning(): Promise<number> {
    for (;;) {
      const event = await this.#next();
      if (event.event === 'ended') return this.#end(event.ending);
      if (event.event !== 'running') continue;
      this.#isOver = true;
      const { slug } = this.#prepared.plan;
      this.#showTimings();
      const { terminal } = this.#world;
      if (this.#request.json) terminal.stdout.write(`${JSON.stringify({ slug })}\n`);
      else terminal.stdout.write(`${slug}\n`);
      this.progress.say(`  claude-bottle attach ${slug}   ·   claude-bottle stop ${slug}`);
      return 0;
    }
  }

  async #untilEnded(): Promise<number> {
    let letGo = new Promise<undefined>(() => undefined);
    for (;;) {
      const event = await Promise.race([this.#next(), letGo]);
      if (event === undefined) return this.#leave();
      switch (event.event) {
        case 'created':
          this.#attached = this.#attach();
          letGo = this.#attached.then(() =>
            this.#isLetGo ? undefined : new Promise<undefined>(() => undefined),
          );
          break;
        case 'sealed':
          this.#supervisor.tell({ do: 'go' });
          break;
        case 'ended':
          // The terminal is whole again before anything is said on it.
          await this.#attached;
          return this.#end(event.ending);
        default:
      }
    }
  }

  /** The bottle goes on without us. */
  #leave(): number {
    const { slug } = this.#prepared.plan;
    this.#isOver = true;
    this.progress.say(`${slug} goes on; claude-bottle attach ${slug} comes back to it`);
    return 0;
  }

  /** The next event, after what is said of it has been said. @throws what the supervisor met */
  async #next(): Promise<SupervisorEvent> {
    const event = await this.#supervisor.next();
    switch (event.event) {
      case 'step':
        if (event.ms !== undefined) this.#timings.push({ phase: names[event.name].done, ms: event.ms });
        break;
      case 'warning':
        this.progress.warn(event.text);
        break;
      case 'opened':
        for (const rule of event.rules) this.#say(`may reach: ${withoutControls(rule)}`);
        break;
      case 'staged':
        for (const note of event.notes) {
          // What is not committed stands in the plan already.
          if (note.kind !== 'changes-left-out') this.progress.warn(stagingNote(note));
        }
        break;
      case 'running':
        this.#hasRun = true;
        break;
      case 'collected':
        this.#work = event.work;
        break;
      case 'sealed':
        this.#say(`gate sealed: ${event.checks} checks, ${formatDuration(event.ms)}`);
        break;
      case 'failed':
        this.#isOver = true;
        throw this.#failed(fromMessage(event.failure));
      default:
    }
    return event;
  }

  /** Hands the terminal to the bottle's command until that ends, or until its client does. */
  async #attach(): Promise<void> {
    const { bottle, plan } = this.#prepared;
    this.#isAttached = plan.choices.terminal;
    const signal = this.#over.signal;
    // The supervisor hears of a signal and ends the command, whose last words still have to come: a client of the engine
    // that is signalled itself passes on a second one and loses them.
    const client = await bottle.attach('start');
    const code = await runForeground(client, { signal, passesSignals: false }).then(
      ({ code }) => code,
      (error: unknown) => {
        // Told to end: the bottle ends too, and tells how.
        if (!signal.aborted) throw error;
      },
    );
    this.#isAttached = false;
    if (code === undefined) return;
    const status = await bottle.status().catch(() => undefined);
    if (status?.state === 'exited') return;
    // With its keys, who is attached lets go of a bottle that goes on. With anything else it is to end.
    this.#isLetGo = status?.state === 'running' && code === 0;
    this.#supervisor.tell({ do: this.#isLetGo ? 'detach' : 'abort' });
  }

  #end(ending: Ending): number {
    this.#isOver = true;
    const { slug, workspace } = this.#prepared.plan;
    const { terminal } = this.#world;
    if (this.#work !== undefined && workspace !== undefined) describeWork(this.#work, workspace, terminal);
    describeEnding(ending, slug, terminal);
    this.#showTimings();
    const failure = ending.failure === undefined ? undefined : fromMessage(ending.failure);
    const signal = this.#stoppedBy();
    if (signal !== undefined) {
      // That it was told to stop is the news; what went wrong on the way out comes before it.
      if (failure !== undefined) this.progress.warn(explain(failure).what);
      throw this.#interrupted(signal, ending.keptBecause);
    }
    if (failure !== undefined) throw failure;
    if (ending.exitCode === undefined) throw this.#interrupted('SIGTERM', ending.keptBecause);
    return ending.exitCode;
  }

  /** What is told of a bottle that failed: when it was told to stop, only what that does not explain. */
  #failed(failure: Error): Error {
    const signal = this.#stoppedBy();
    if (signal === undefined) return failure;
    // One that ran is left to the next command, which saves its work.
    return this.#hasRun
      ? new SuppressedError(failure, new Interrupted({ signal }))
      : this.#interrupted(signal);
  }

  /** The signal that told this command to stop. */
  #stoppedBy(): string | undefined {
    const reason: unknown = this.#world.signal.reason;
    return reason instanceof Interrupted ? reason.fields.signal : undefined;
  }

  #interrupted(signal: string, keptBecause?: string): StartInterrupted {
    const branch = this.#work?.branch;
    return new StartInterrupted({
      signal,
      slug: this.#prepared.plan.slug,
      ...(keptBecause === undefined ? {} : { keptBecause }),
      ...(branch === undefined ? {} : { branch }),
    });
  }

  /** On a terminal that somebody else has set to raw, a line needs its carriage return. */
  #say(line: string): void {
    this.#world.terminal.stderr.write(this.#isAttached ? `\r${line}\r\n` : `${line}\n`);
  }

  #showTimings(): void {
    if (!this.#request.timings) return;
    const total = { phase: 'in all', ms: performance.now() - this.#began };
    const rows = [...this.progress.timings, ...this.#timings, total].map(({ phase, ms }) => [
      phase,
      formatDuration(ms),
    ]);
    this.#world.terminal.stderr.write(renderTable(['phase', 'time'], rows, ['left', 'right']));
  }
}
