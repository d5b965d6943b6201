/** Why and how a bottle is to end before its command does. */
export interface Stop {
  /** Between SIGTERM and SIGKILL. */
  readonly graceMs: number;
  /** Whether what is in it is given up. */
  readonly discard: boolean;
  /** What went wrong, if something did. */
  readonly failure?: Error;
}

/** The course of one bottle: who wants it to end is heard once, and whoever waits learns of it. */
export class Course {
  readonly #controller = new AbortController();
  #stop: Stop | undefined;

  /** Fires when somebody wants the bottle to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get stop(): Stop | undefined {
    return this.#stop;
  }

  /** The first wish counts; a later one to give up what is in the bottle is added to it. */
  request(stop: Stop): void {
    this.#stop =
      this.#stop === undefined ? stop : { ...this.#stop, discard: this.#stop.discard || stop.discard };
    this.#controller.abort(stop.failure);
  }

  /** Resolves when somebody wants the bottle to end. */
  requested(): Promise<void> {
    const { signal } = this;
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }
}
